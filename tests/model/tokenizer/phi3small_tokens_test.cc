#include "model/tokenizer/phi3small_tokens.h"

#include <algorithm>

#include <fmt/core.h>
#include <gtest/gtest.h>

namespace phiquant {
namespace {

TEST(Phi3SmallTokens, FillTheEndOfTheVocabulary) {
  const auto tokens = phi3small_special_tokens();
  ASSERT_EQ(tokens.size(), 96U);
  for (size_t i = 0; i < tokens.size(); ++i) EXPECT_EQ(tokens[i].id, 100256 + i);
  const auto text = [&](uint32_t id) { return tokens[id - 100256].text; };
  EXPECT_EQ(text(100256), "<|dummy_id_2|>");
  EXPECT_EQ(text(100257), "<|endoftext|>");
  EXPECT_EQ(text(100264), "<|dummy_id_0|>");
  EXPECT_EQ(text(100265), "<|dummy_id_1|>");
  EXPECT_EQ(text(100266), "<|end|>");
  for (uint32_t id = 100267; id <= 100275; ++id)
    EXPECT_EQ(text(id), fmt::format("<|dummy_id_{}|>", id - 100267 + 3));
  EXPECT_EQ(text(100276), "<|endofprompt|>");
  for (uint32_t offset = 1; offset <= 75; ++offset)
    EXPECT_EQ(text(100276 + offset), fmt::format("<|dummy_id_{}|>", 11 + offset));
}

TEST(Phi3SmallTokens, NeverProducesWhatItWasNotTrainedOn) {
  const auto unused = phi3small_unused_ids();
  EXPECT_EQ(unused.size(), 91U);
  EXPECT_TRUE(std::is_sorted(unused.begin(), unused.end()));
  for (const auto& [id, text] : phi3small_special_tokens()) {
    const bool used = text == "<|endoftext|>" || text == "<|system|>" || text == "<|user|>" ||
                      text == "<|assistant|>" || text == "<|end|>";
    EXPECT_EQ(std::binary_search(unused.begin(), unused.end(), id), !used) << text;
  }
}

}  // namespace
}  // namespace phiquant
