// UTF-8 as in Python's str: which bytes are valid text, which characters are white space.
#pragma once

#include <cstdint>
#include <string_view>

namespace asr::lm {

// A code point and its length in bytes. DecodeUtf8 expects a first byte of 0x80 or more; it gives length 0 if
// the bytes are not UTF-8 (Unicode 15, table 3-7: no overlong forms, no surrogates, at most U+10FFFF).
struct Character {
  uint32_t code;
  int length;
};
inline Character DecodeUtf8(const unsigned char* at, const unsigned char* end) {
  const int length = at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : at[0] < 0xf5 ? 4 : 0;
  if (length == 0 || end - at < length) return {0, 0};
  uint32_t code = at[0] & (0x7f >> length);
  for (int i = 1; i < length; ++i) {
    if ((at[i] & 0xc0) != 0x80) return {0, 0};
    code = code << 6 | (at[i] & 0x3f);
  }
  const bool is_overlong = code < (length == 3 ? 0x800u : length == 4 ? 0x10000u : 0x80u);
  if (is_overlong || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return {0, 0};
  return {code, length};
}

inline bool IsUtf8(std::string_view text) {
  const auto *at = reinterpret_cast<const unsigned char*>(text.data()), *const end = at + text.size();
  while (at < end) {
    const int length = *at < 0x80 ? 1 : DecodeUtf8(at, end).length;
    if (length == 0) return false;
    at += length;
  }
  return true;
}

// str.isspace() of one character.
inline bool IsSpace(uint32_t code) {
  if (code < 0x80) return code == ' ' || (code >= 0x09 && code <= 0x0d) || (code >= 0x1c && code <= 0x1f);
  return code == 0x85 || code == 0xa0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200a) ||
         code == 0x2028 || code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

}  // namespace asr::lm
