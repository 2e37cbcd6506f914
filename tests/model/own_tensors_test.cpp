// What a checkpoint's file and its config.json say of each other: heads of their own, tensors nobody reads, numbers that are
// none.
#include <gtest/gtest.h>

#include <bit>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "core/model/checkpoint.h"
#include "core/model/family.h"
#include "core/util/errors.h"
#include "core/util/half.h"
#include "tests/support/temporary_folder.h"

namespace sage {
namespace {

constexpr const char* kHead = "lm_head.weight";

// A model of tests/data/hf with changes to config.json and to its tensors, which have their values as floats.
class Changed {
 public:
  explicit Changed(const std::string& model) : model_(model), files_(model_folder(model)) {
    dir_.copy_model(model);
    for (const auto& [name, place] : files_.places()) {
      Tensor t{place.tensor->dtype, place.tensor->shape, std::vector<float>(static_cast<size_t>(place.tensor->elements()))};
      place.file->to_float(*place.tensor, 0, t.values);
      tensors[name] = std::move(t);
    }
  }
  struct Tensor {
    DType dtype;
    std::vector<int64_t> shape;
    std::vector<float> values;
  };
  std::map<std::string, Tensor> tensors;
  nlohmann::json config = nlohmann::json::object();  // merged into the model's own

  CheckpointSource open() const {
    nlohmann::json json = nlohmann::json::parse(slurp(model_folder(model_) + "/config.json"));
    json.merge_patch(config);
    dir_.write("config.json", json.dump());
    SafetensorsWriter w;
    std::vector<std::unique_ptr<std::string>> kept;
    for (const auto& [name, t] : tensors) {
      kept.push_back(std::make_unique<std::string>());
      for (const float v : t.values) {
        const auto put = [&](auto x) { kept.back()->append(reinterpret_cast<const char*>(&x), sizeof x); };
        if (t.dtype == DType::kF32)
          put(v);
        else
          put(t.dtype == DType::kF16 ? float_to_half(v) : float_to_bfloat16(v));
      }
      w.add(name, t.dtype, t.shape, std::as_bytes(std::span(kept.back()->data(), kept.back()->size())));
    }
    w.write(dir_.file("model.safetensors"));
    return CheckpointSource(dir_.path());
  }
  std::string path() const { return dir_.path(); }

 private:
  std::string model_;
  TensorFiles files_;
  TemporaryFolder dir_;
};

struct Named {
  const char* model;
  const char* embedding;
};
class OwnHead : public testing::TestWithParam<Named> {
 protected:
  Changed model_{GetParam().model};
  const std::string embedding_ = GetParam().embedding;
  // The head the forward pass would take, and whether a note names both tensors.
  void expect_head(const std::string& name, bool noted) const {
    const CheckpointSource s = model_.open();
    const Family& family = find_family(s.config());
    EXPECT_EQ(head_tensor(family, s.config()), name);
    EXPECT_NO_THROW(check_tensors(family, s));
    EXPECT_EQ(s.config().notes.size(), noted ? 1u : 0u);
    if (!noted || s.config().notes.empty()) return;
    for (const std::string& word : {s.folder(), std::string(kHead), embedding_, std::string("tie_word_embeddings")})
      EXPECT_NE(s.config().notes[0].find(word), std::string::npos) << s.config().notes[0];
  }
};
INSTANTIATE_TEST_SUITE_P(Families, OwnHead,
                         testing::Values(Named{"llama_gqa_tied_bf16", "model.embed_tokens.weight"},
                                         Named{"opt", "model.decoder.embed_tokens.weight"}),
                         [](const auto& info) { return std::string(info.param.model); });

TEST_P(OwnHead, CountsWhereItDiffersFromTheEmbedding) {
  expect_head(embedding_, false);
  model_.tensors[kHead] = model_.tensors[embedding_];
  expect_head(embedding_, false);
  model_.tensors[kHead].values.back() += 1;
  expect_head(kHead, true);
  // Equal numbers in another dtype are equal; a difference is one in any dtype.
  model_.tensors[kHead] = model_.tensors[embedding_];
  model_.tensors[kHead].dtype = DType::kF32;
  expect_head(embedding_, false);
  model_.tensors[kHead].values.front() += 1;
  expect_head(kHead, true);
  // A file that says so itself needs no note.
  model_.config["tie_word_embeddings"] = false;
  expect_head(kHead, false);
}

TEST_P(OwnHead, OfAnotherShapeIsRefused) {
  model_.tensors[kHead] = model_.tensors[embedding_];
  auto& head = model_.tensors[kHead];
  head.shape[0] -= 1;
  head.values.resize(static_cast<size_t>(head.shape[0] * head.shape[1]));
  const CheckpointSource s = model_.open();
  EXPECT_ERROR(ResourceError, check_tensors(find_family(s.config()), s), kHead, "found shape");
}

TEST_P(OwnHead, ThatIsMissingIsToldWithTheFlag) {
  model_.config["tie_word_embeddings"] = false;
  const CheckpointSource s = model_.open();
  EXPECT_ERROR(ResourceError, check_tensors(find_family(s.config()), s), "no tensor 'lm_head.weight'",
               "tie_word_embeddings is false");
}

TEST(UnreadTensors, AreThoseTheConfigDenies) {
  Changed model("llama_gqa_tied_bf16");
  const auto unread = [&] {
    const CheckpointSource s = model.open();
    return unread_tensors(find_family(s.config()), s);
  };
  EXPECT_TRUE(unread().empty());
  model.tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = {DType::kF32, {8}, std::vector<float>(8)};
  EXPECT_TRUE(unread().empty());
  const std::string bias = "model.layers.0.self_attn.q_proj.bias", beyond = "model.layers.2.mlp.up_proj.weight";
  model.tensors[bias] = {DType::kBF16, {64}, std::vector<float>(64)};
  model.tensors[beyond] = model.tensors["model.layers.1.mlp.up_proj.weight"];
  model.tensors[kHead] = model.tensors["model.embed_tokens.weight"];
  EXPECT_EQ(unread(), (std::vector<std::string>{kHead, bias, beyond}));
  const CheckpointSource s = model.open();
  const Family& family = find_family(s.config());
  EXPECT_ERROR(ResourceError, report_unread_tensors(family, s, true), model.path(), "3 of its tensors", kHead, bias, beyond,
               "--strict");
  testing::internal::CaptureStderr();
  report_unread_tensors(family, s, false);
  report_unread_tensors(family, s, false);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("3 of its tensors"), std::string::npos) << said;
  EXPECT_EQ(said.find("3 of its tensors"), said.rfind("3 of its tensors")) << said;
  // Half of the model is a model, and the other half is not part of it.
  model.config["num_hidden_layers"] = 1;
  EXPECT_EQ(unread().size(), 3u + 9);
}

TEST(FiniteTensors, AreAskedOfEverythingThatIsNotSkipped) {
  const auto first_bad = [](const Changed& model, const std::set<std::string>& skipped) -> std::string {
    const CheckpointSource s = model.open();
    try {
      check_finite_tensors(s.tensor_files(), find_family(s.config()), s.config(),
                           [&](const std::string& n) { return skipped.count(n) > 0; });
    } catch (const ResourceError& e) {
      return e.what();
    }
    return "";
  };
  for (const char* name : {"llama_mha", "opt", "opt_350m_style"}) {
    const Changed sound(name);
    EXPECT_EQ(first_bad(sound, {}), "");
    for (const auto& [tensor, content] : sound.tensors) {
      Changed model(name);
      model.tensors[tensor].values.back() = std::numeric_limits<float>::quiet_NaN();
      const std::string found = first_bad(model, {});
      EXPECT_NE(found.find("'" + tensor + "': NaN"), std::string::npos) << found;
      EXPECT_EQ(first_bad(model, {tensor}), "");
    }
  }
}

}  // namespace
}  // namespace sage
