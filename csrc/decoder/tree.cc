#include "tree.h"

#include <algorithm>
#include <string>

#include "graph.h"
#include "mapped_file.h"

namespace asr {

Tree::Tree(const void* data, size_t num_bytes) {
  Parts parts(data, num_bytes, "lexicon tree");
  header_ = parts.TakeHeader<Header>("asrwords");
  first_ = parts.Take<uint32_t>(uint64_t{header_->num_spellings} + 1);
  word_ = parts.Take<uint32_t>(header_->num_spellings);
  label_ = parts.Take<uint16_t>(header_->num_labels);
  suffix_ = parts.Take<uint32_t>(header_->num_labels);
  suffixes_ = parts.Take<Suffix>(header_->num_suffixes);
  parts.Take<char>(header_->words_bytes);
  const auto expect = [&parts](bool is_good, const char* what) {
    if (!is_good) parts.Refuse(std::string("is damaged: ") + what);
  };
  expect(num_spellings() > 0 && header_->num_suffixes > 0, "it is empty");
  const auto is_label = [this](int32_t label) { return label > kBlankLabel && label <= max_label(); };
  expect(max_label() <= kMaxLabel, "its largest label is none");
  expect((silence() == 0 || is_label(silence())) && (separator() == 0 || is_label(separator())),
         "the label between words is none");
  expect(first_[0] == 0 && first_[num_spellings()] == header_->num_labels, "spellings end elsewhere");
  for (uint32_t i = 0; i < num_spellings(); ++i) {
    expect(first_[i] < first_[i + 1] && first_[i + 1] <= header_->num_labels, "a spelling is empty");
    expect(word_[i] >= 1 && word_[i] <= num_words(), "a spelling is of no word");
    const uint16_t *a = label_ + first_[i], *b = label_ + first_[i + 1];
    expect(i == 0 || !std::lexicographical_compare(a, b, label_ + first_[i - 1], a),
           "spellings are not sorted");
    for (uint32_t k = first_[i]; k < first_[i + 1]; ++k) {
      expect(is_label(label_[k]), "a label is out of range");
      expect(suffix_[k] < num_suffixes() && suffixes_[suffix_[k]].label == label_[k],
             "a suffix is another's");
      const uint32_t after = k + 1 < first_[i + 1] ? suffix_[k + 1] : 0;
      expect(suffixes_[suffix_[k]].next == after && after < suffix_[k], "a suffix goes on elsewhere");
    }
  }
}

}  // namespace asr
