// Spans of the device's work: where they lie, in which order they come, and what happens when the device refuses an event.
#include "kernels/cuda/timeline.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "core/backend/memory.h"
#include "kernels/cuda_on_cpu/cuda_on_cpu_backend.h"
#include "kernels/cuda_on_cpu/emulated_api.h"
#include "tests/cuda/faulty_api.h"

namespace sage::test {
namespace {

using namespace std::chrono_literals;

TEST(Timeline, SpansOfABackend) {
  const auto before = std::chrono::steady_clock::now();
  const auto backend = make_cuda_on_cpu_backend();
  const Matrix w = Matrix::zeros(3, 5);
  { const auto unheard = backend->span("before"); }
  EXPECT_TRUE(backend->timeline().empty());
  backend->record_timeline(true);
  {
    const auto outer = backend->span("block 0");
    std::this_thread::sleep_for(20ms);
    const HeldMemory held = hold(*backend, w.view());
    std::this_thread::sleep_for(20ms);
  }
  const auto open = backend->span("open");
  const std::vector<TimelineEntry> entries = backend->timeline();
  ASSERT_EQ(entries.size(), 2u);
  const TimelineEntry &block = entries[0], &transfer = entries[1];
  EXPECT_EQ(block.stream, "compute");
  EXPECT_EQ(block.what, "block 0");
  EXPECT_EQ(transfer.stream, "transfer");
  EXPECT_EQ(transfer.what, "3 x 5");
  const std::chrono::duration<double> all = std::chrono::steady_clock::now() - before;
  // The pauses are at least as long as asked for, and nothing is longer than the whole.
  EXPECT_GE(block.start_s, 0);
  EXPECT_GE(transfer.start_s, block.start_s + 0.019);
  EXPECT_GE(transfer.end_s, transfer.start_s);
  EXPECT_GE(block.end_s, transfer.end_s + 0.019);
  EXPECT_LE(block.end_s, all.count() + 1e-3);  // events are in single precision
  backend->record_timeline(true);
  EXPECT_TRUE(backend->timeline().empty());
  backend->record_timeline(false);
  { const auto unheard = backend->span("after"); }
  EXPECT_TRUE(backend->timeline().empty());
}

TEST(Timeline, EndsOfForgottenSpansAreNotHeard) {
  const auto backend = make_cuda_on_cpu_backend();
  backend->record_timeline(true);
  auto open = backend->span("forgotten");
  backend->record_timeline(true);
  const auto next = backend->span("next");
  open.reset();
  EXPECT_TRUE(backend->timeline().empty());
}

// A refused event is a gap in the record, at either end of a span, and nothing is left behind.
TEST(Timeline, RefusedEvents) {
  const auto faults = std::make_shared<Faults>();
  const auto api = make_faulty_api(cuda::make_emulated_api(), faults);
  cuda::Stream stream = nullptr;
  ASSERT_TRUE(api->create_stream(&stream).ok());
  constexpr cuda::Status kFailure{999};
  {
    cuda::Timeline timeline(*api, stream);
    timeline.record(true);
    for (const int64_t call : {1, 2, 3, 4}) {  // create and record, at the start and at the end
      faults->arm(call, kFailure, false);
      timeline.span("compute", "lost", stream);
      EXPECT_TRUE(faults->fired()) << call;
    }
    timeline.span("compute", "kept", stream);
    const std::vector<TimelineEntry> entries = timeline.entries();
    ASSERT_EQ(entries.size(), 1u);
    EXPECT_EQ(entries[0].what, "kept");
  }
  static_cast<void>(api->destroy_stream(stream));
  EXPECT_EQ(faults->complaints(true), "");
}

TEST(Timeline, HasALimit) {
  const auto api = cuda::make_emulated_api();
  cuda::Stream stream = nullptr;
  ASSERT_TRUE(api->create_stream(&stream).ok());
  {
    cuda::Timeline timeline(*api, stream);
    timeline.record(true);
    for (size_t i = 0; i < cuda::Timeline::kMostSpans + 3; ++i)
      timeline.span("compute", "x", stream);
    EXPECT_EQ(timeline.entries().size(), cuda::Timeline::kMostSpans);
  }
  static_cast<void>(api->destroy_stream(stream));
}

}  // namespace
}  // namespace sage::test
