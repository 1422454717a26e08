#include "tree.h"

#include <algorithm>
#include <cmath>

#include "graph.h"
#include "mapped_file.h"

namespace asr::decoder {

Tree::Tree(const void* data, size_t num_bytes) {
  MappedFile file(data, num_bytes, "lexicon tree");
  header_ = file.TakeHeader<Header>("asrwords");
  first_ = file.Take<uint32_t>(uint64_t{header_->num_spellings} + 1);
  word_ = file.Take<uint32_t>(header_->num_spellings);
  label_ = file.Take<uint16_t>(header_->num_labels);
  suffix_ = file.Take<uint32_t>(header_->num_labels);
  suffixes_ = file.Take<Suffix>(header_->num_suffixes);
  file.Take<char>(header_->words_bytes);
  cost_ = file.HasMore() ? file.Take<float>(header_->num_spellings) : nullptr;
  file.Finish();
  file.RequireCount(header_->num_spellings, "spellings");
  file.RequireCount(header_->num_labels, "labels");
  file.RequireCount(header_->num_suffixes, "suffixes");
  file.Expect(num_words() <= header_->words_bytes, "it has fewer names than words");
  file.RequireCount(num_words(), "words");
  file.Expect(num_spellings() > 0 && header_->num_suffixes > 0, "it is empty");
  const auto is_label = [this](int32_t label) { return label > kBlankLabel && label <= max_label(); };
  file.Expect(max_label() <= kMaxLabel, "its largest label is out of range");
  file.Expect((silence() == 0 || is_label(silence())) && (separator() == 0 || is_label(separator())),
              "the label between words is out of range");
  file.Expect(first_[0] == 0 && first_[num_spellings()] == header_->num_labels,
              "its spellings do not cover all labels");
  for (uint32_t i = 0; i < num_spellings(); ++i) {
    file.Expect(first_[i] < first_[i + 1] && first_[i + 1] <= header_->num_labels, "a spelling is empty");
    file.Expect(cost(i) >= 0 && std::isfinite(cost(i)), "the cost of a spelling is out of range");
    file.Expect(word_[i] >= 1 && word_[i] <= num_words(), "a spelling has no word");
    const uint16_t *a = label_ + first_[i], *b = label_ + first_[i + 1];
    file.Expect(i == 0 || !std::lexicographical_compare(a, b, label_ + first_[i - 1], a),
                "spellings are not sorted");
    for (uint32_t k = first_[i]; k < first_[i + 1]; ++k) {
      file.Expect(is_label(label_[k]), "a label is out of range");
      file.Expect(suffix_[k] < num_suffixes() && suffixes_[suffix_[k]].label == label_[k],
                  "a suffix does not match its label");
      const uint32_t next = k + 1 < first_[i + 1] ? suffix_[k + 1] : 0;
      file.Expect(suffixes_[suffix_[k]].next == next && next < suffix_[k],
                  "a suffix does not match its spelling");
    }
  }
}

}  // namespace asr::decoder
