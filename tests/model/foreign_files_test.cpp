// Files that are something else than their names say, and folders as the hub keeps them.
#include <gtest/gtest.h>

#include <filesystem>

#include "core/model/checkpoint.h"
#include "core/model/hub_folder.h"
#include "core/model/model_config.h"
#include "core/model/safetensors.h"
#include "core/model/tokenizer.h"
#include "core/util/errors.h"
#include "core/util/file_kind.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

namespace sage {
namespace {

namespace fs = std::filesystem;

const std::string kPointer =
    "version https://git-lfs.github.com/spec/v1\noid "
    "sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881\nsize 134515008\n";

std::string kind_of(std::string_view bytes) {
  const auto kind = file_kind(bytes, bytes.size(), "DIR/file");
  return kind ? kind->what : "";
}

TEST(FileKind, KnowsThemByTheirFirstBytes) {
  using namespace std::string_view_literals;
  EXPECT_NE(kind_of(kPointer).find("Git LFS pointer"), std::string::npos);
  EXPECT_NE(kind_of("# xet version 0\nfilesize = 3\n").find("Xet pointer"), std::string::npos);
  for (const char* page : {"<!DOCTYPE html>", "\n<!doctype HTML><html>", "\xEF\xBB\xBF <html lang=\"en\">", "<HEAD>"})
    EXPECT_NE(kind_of(page).find("web page"), std::string::npos) << page;
  EXPECT_NE(kind_of("<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code>").find("error message"), std::string::npos);
  EXPECT_NE(kind_of("\xFF\xFE{\0"sv).find("UTF-16"), std::string::npos);
  EXPECT_NE(kind_of("PK\x03\x04\x14\0"sv).find("torch.save"), std::string::npos);
  EXPECT_NE(kind_of("\x80\x02\x8a\nl\xfc"sv).find("pickle"), std::string::npos);
  EXPECT_NE(kind_of("\x80\x04\x95"sv).find("pickle"), std::string::npos);
  EXPECT_NE(kind_of("GGUF\x03\0\0\0"sv).find("GGUF"), std::string::npos);
  EXPECT_NE(kind_of("\x1F\x8B\x08"sv).find("gzip"), std::string::npos);
  EXPECT_NE(kind_of("\x04\0\0\0\0\0\0\0{\"a\""sv).find("safetensors"), std::string::npos);
  for (const char* other : {"", "{", "{\"a\": 1}", "version 2 of the text", "a <html> in a text", "PK", "Some text.\n"})
    EXPECT_EQ(kind_of(other), "") << other;
}

TEST(FileKind, EveryReaderOfAModelFolderAsks) {
  for (const char* name :
       {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "added_tokens.json"}) {
    for (const auto& [bytes, what, remedy] :
         {std::tuple{kPointer, "is a Git LFS pointer, not the data itself", "run `git lfs pull` in "},
          {std::string("<!DOCTYPE html><html></html>"), "is a web page (HTML)", "fetch the file again"},
          {std::string("GGUF\x03\0\0\0\0\0\0\0", 12), "is a GGUF file", "convert it with transformers"}}) {
      const TemporaryFolder folder;
      folder.copy_model("llama_mha");
      folder.write("tokenizer.json", R"({"model": {"type": "BPE", "vocab": {"H": 0}, "merges": []}})");
      fs::remove(folder.file(name));
      folder.write(name, bytes);
      EXPECT_ERROR(
          ResourceError,
          {
            CheckpointSource source(folder.path());
            Tokenizer::from_folder(folder.path());
          },
          folder.file(name) + ": " + what, "expected", remedy);
    }
  }
}

TEST(FileKind, ShardsIndexAndVocabularies) {
  const TemporaryFolder folder;
  folder.copy_model("llama_bias_f16_sharded");
  std::string shard;
  for (const auto& entry : fs::directory_iterator(folder.path()))
    if (entry.path().extension() == ".safetensors") shard = entry.path().filename().string();
  const std::string index = slurp(folder.file("model.safetensors.index.json"));
  fs::remove(folder.file(shard));
  folder.write(shard, kPointer);
  EXPECT_ERROR(ResourceError, CheckpointSource(folder.path()), folder.file(shard) + ": is a Git LFS pointer");
  fs::remove(folder.file("model.safetensors.index.json"));
  folder.write("model.safetensors.index.json", kPointer);
  EXPECT_ERROR(ResourceError, CheckpointSource(folder.path()), "model.safetensors.index.json: is a Git LFS pointer");
  for (const char* name : {"vocab.json", "merges.txt"}) {
    std::map<std::string, std::string> files = {{"vocab.json", R"({"a": 0})"}, {"merges.txt", "#version: 0.2\n"}};
    files[name] = kPointer;
    EXPECT_ERROR(ResourceError, Tokenizer::from_texts(files, "DIR"), std::string("DIR/") + name + ": is a Git LFS pointer",
                 "`git lfs pull` in DIR");
  }
}

// A header whose length spells another format's first bytes is a header all the same.
TEST(FileKind, SafetensorsWithAnUnluckyLength) {
  std::string header = "{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}";
  header.resize(0x00088B1F, ' ');
  std::string file("\x1F\x8B\x08\0\0\0\0\0", 8);
  file += header;
  EXPECT_EQ(SafetensorsFile::from_memory(std::as_bytes(std::span(file.data(), file.size())), "t").tensors().size(), 1u);
}

TEST(HubFolder, FindsTheSnapshot) {
  const TemporaryFolder cache;
  const std::string model = cache.file("models--org--some--name");
  const auto snapshot = [&](const std::string& revision) {
    const fs::path folder = fs::path(model) / "snapshots" / revision;
    fs::create_directories(folder);
    fs::copy(model_folder("llama_mha"), folder, fs::copy_options::recursive);
    return folder.string();
  };
  fs::create_directories(fs::path(model) / "snapshots" / "0000");
  EXPECT_ERROR(ResourceError, model_files_folder(model), model + ": a folder of the hub's cache without a snapshot");
  const std::string one = snapshot("1111");
  EXPECT_EQ(model_files_folder(model), one);
  EXPECT_EQ(model_files_folder(one), one);
  const std::string two = snapshot("2222");
  EXPECT_ERROR(ResourceError, model_files_folder(model), "with 2 snapshots", "name one of them: " + one + ", " + two);
  fs::create_directories(fs::path(model) / "refs");
  cache.write("models--org--some--name/refs/main", "2222\n");
  EXPECT_EQ(model_files_folder(model), two);
  cache.write("models--org--some--name/refs/main", "../..");
  EXPECT_ERROR(ResourceError, model_files_folder(model), "with 2 snapshots");

  EXPECT_ERROR(ResourceError, model_files_folder(cache.path()), "a cache of the hub with 1 model;",
               "name one of them: " + model);
  EXPECT_EQ(model_folder_name(two), "org/some--name");
  EXPECT_EQ(model_folder_name(two + "/"), "org/some--name");
  EXPECT_EQ(model_folder_name("/x/y/"), "y");
  EXPECT_NO_THROW(CheckpointSource(model_files_folder(two)));
}

TEST(HubFolder, WhatIsNoModelFolder) {
  const TemporaryFolder folder;
  fs::create_directories(folder.file("inner"));
  fs::copy(model_folder("llama_mha"), folder.file("inner"), fs::copy_options::recursive);
  EXPECT_ERROR(ResourceError, model_files_folder(folder.path()), "no config.json, but there is one in " + folder.file("inner"));
  EXPECT_ERROR(ResourceError, model_files_folder(folder.file("none")), "none: no such folder");
  EXPECT_ERROR(ResourceError, model_files_folder(folder.file("inner/model.safetensors")), "is a safetensors file",
               "name its folder: " + folder.file("inner"));
  EXPECT_ERROR(ResourceError, model_files_folder(folder.write("x.gguf", "GGUF")), "is a GGUF file", "gguf_file=NAME");
}

}  // namespace
}  // namespace sage
