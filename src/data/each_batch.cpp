#include "data/each_batch.h"

#include "core/check.h"

namespace resnet {

void Pass::throw_if_stopped() const {
  if (!stopped) return;
  fail(ErrorCode::kInterrupted, "interrupted after {} of {} images", done, total);
}

bool report(Pass& pass, const Job& job, std::int64_t count) {
  pass.done += count;
  if (job.progress) job.progress(pass.done, pass.total);
  pass.stopped = job.stopped();
  return !pass.stopped;
}

Pass for_each_batch(Loader& loader, const Job& job, const std::function<void(Batch&)>& each) {
  Pass pass{.total = loader.dataset().size()};
  Batch batch;
  loader.start_epoch(0);
  while (loader.next(batch)) {
    each(batch);
    if (!report(pass, job, batch.count)) break;
  }
  return pass;
}

void none_readable(std::int64_t images, const std::vector<BadImage>& bad) {
  RESNET_CHECK(!bad.empty());
  fail(ErrorCode::kBadData, "not one of the {} images could be read; the first: {}: {}", images,
       bad.front().name, bad.front().reason);
}

}  // namespace resnet
