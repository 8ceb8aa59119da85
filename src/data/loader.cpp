// How batches are made. Batches have numbers; batch b lives in slot b mod prefetch. Work is handed
// out in chunks of rows, in order, so all threads finish the oldest batch before they start the
// next one: the first batch of an epoch comes early, and few batches are in flight. Whoever
// finishes a batch's last chunk mixes it (mixup, CutMix) and marks it ready. A consumer that finds
// its batch unfinished helps, which also is how a loader without threads works.
//
// Everything random is drawn from streams named by (seed, epoch, index): Philox makes that free.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <numeric>
#include <optional>
#include <thread>
#include <utility>

#include "core/check.h"
#include "core/guard.h"
#include "core/random.h"
#include "data/augment.h"
#include "data/readable.h"
#include "resnet/data.h"

namespace resnet {
namespace {

// Purposes of random streams, so that shuffling and augmentation of one seed have nothing in
// common.
constexpr std::uint64_t kShuffleStream = 0x73687566666c6531ULL;
constexpr std::uint64_t kAugmentStream = 0x6175676d656e7431ULL;
constexpr std::uint64_t kFlipStream = 0x666c697065706f63ULL;
constexpr std::uint64_t kMixStream = 0x6d69786261746331ULL;

struct Slot {
  Batch batch;
  int unfinished = 0;  // rows
  bool ready = false;
  std::exception_ptr failure;
};

struct Chunk {
  std::int64_t number = 0;  // of the batch
  int begin = 0;            // rows
  int end = 0;
};

template <class T>
void shuffle(std::vector<T>& values, Random& random) {
  for (std::size_t i = values.size(); i > 1; --i) {
    std::swap(values[i - 1], values[random.below(static_cast<std::uint32_t>(i))]);
  }
}

/// The shards in random order, their images through a buffer from which each next one is drawn:
/// whoever reads in this order stays within a window of the buffer's length, and near to it one
/// shard after the other. The same order for the same random numbers.
std::vector<std::int64_t> buffered_order(const std::vector<std::int64_t>& starts,
                                         std::int64_t count, std::int64_t buffer_size,
                                         Random& random) {
  std::vector<std::size_t> shards(starts.size());
  std::iota(shards.begin(), shards.end(), std::size_t{0});
  shuffle(shards, random);
  std::vector<std::int64_t> order;
  std::vector<std::int64_t> buffer;
  order.reserve(static_cast<std::size_t>(count));
  for (const std::size_t s : shards) {
    const std::int64_t end = s + 1 < starts.size() ? starts[s + 1] : count;
    for (std::int64_t i = starts[s]; i < end; ++i) {
      if (static_cast<std::int64_t>(buffer.size()) < buffer_size) {
        buffer.push_back(i);
      } else {
        const std::uint32_t drawn = random.below(static_cast<std::uint32_t>(buffer.size()));
        order.push_back(std::exchange(buffer[drawn], i));
      }
    }
  }
  shuffle(buffer, random);
  order.insert(order.end(), buffer.begin(), buffer.end());
  return order;
}

struct Scratch {
  Augmenter::Scratch augment;
  Image image;
  std::vector<float> row;
};

}  // namespace

struct Loader::State {
  State(DatasetPtr data, const Preprocessing& prep, const Augmentation& augment,
        const LoaderOptions& opts);
  ~State();

  std::int64_t batches() const;
  int rows_of(std::int64_t number) const;
  void stop_epoch(std::unique_lock<std::mutex>& lock);
  std::optional<Chunk> claim(std::int64_t limit);
  void begin_batch(std::int64_t number);
  void process(const Chunk& chunk, Scratch& scratch, std::unique_lock<std::mutex>& lock);
  void fill_row(const Chunk& chunk, int row, Scratch& scratch);
  bool is_mirrored(std::int64_t index) const;
  bool make_input(std::int64_t index, const Random& random, float* out, Scratch& scratch);
  void note_traits(std::int64_t index, const Image& image, const float* out);
  void work();
  void end_threads();
  Slot& slot_of(std::int64_t number) {
    return slots[static_cast<std::size_t>(number) % slots.size()];
  }

  const DatasetPtr dataset;
  const Preprocessing preprocessing;
  const Augmentation augmentation;
  const LoaderOptions options;
  const Augmenter augmenter;
  const int chunk_rows;
  Shape image_shape;
  Shape target_shape;

  std::mutex mutex;  // guards all below, but for the rows of claimed chunks
  std::condition_variable work_came;
  std::condition_variable batch_came;
  std::vector<Slot> slots;
  const std::vector<std::int64_t> shard_starts;
  std::vector<std::int64_t> order;  // this epoch's images
  std::int64_t epoch = 0;
  std::int64_t total = 0;     // batches in the epoch; 0 before the first
  std::int64_t consumed = 0;  // number of the next batch to hand out
  std::int64_t claimed = 0;   // number of the batch whose rows are handed out
  int claimed_rows = 0;
  int busy = 0;  // chunks being worked on
  bool quit = false;
  std::atomic<bool> cancelled{false};  // the rest of the epoch is not wanted
  double waited = 0;
  Scratch own_scratch;  // of the consumer's thread

  mutable std::mutex bad_mutex;
  std::map<std::int64_t, std::string> bad;  // index to reason
  std::atomic<bool> any_bad{false};
  std::vector<bool> clipped;  // by index; empty before the first
  std::vector<ImageTraits> traits;
  std::atomic<bool> enough_traits{false};

  std::vector<std::thread> threads;
};

Loader::State::State(DatasetPtr data, const Preprocessing& prep, const Augmentation& augment,
                     const LoaderOptions& opts)
    : dataset(std::move(data)),
      preprocessing(prep),
      augmentation(augment),
      options(opts),
      augmenter(prep, augment),
      // Small images take microseconds, less than a turn at the lock is worth.
      chunk_rows(prep.width * prep.height <= 96 * 96 ? 16 : 1),
      shard_starts(dataset->shard_starts()) {
  const LoaderOptions& o = options;
  if (o.batch_size < 1 || o.threads < 0 || o.threads > 1024 || o.prefetch < 1 ||
      o.prefetch > 1024) {
    fail(ErrorCode::kInvalidArgument,
         "a loader with batches of {}, {} threads and {} batches ahead; expected a batch of at "
         "least "
         "1, 0 to 1024 threads, 1 to 1024 batches",
         o.batch_size, o.threads, o.prefetch);
  }
  if (o.shuffle_buffer < 0) {
    fail(ErrorCode::kInvalidArgument, "a buffer of {} images to shuffle in; expected at least 0",
         o.shuffle_buffer);
  }
  if (o.world_size < 1 || o.rank < 0 || o.rank >= o.world_size) {
    fail(ErrorCode::kInvalidArgument, "a loader of rank {} of {}; expected a rank below the number",
         o.rank, o.world_size);
  }
  if (!o.replace_bad && (augmentation.mixup > 0 || augmentation.cutmix > 0)) {
    fail(ErrorCode::kInvalidArgument,
         "mixup and cutmix need replace_bad: an unreadable image cannot be mixed in");
  }
  if (dataset->size() < 1) fail(ErrorCode::kBadData, "a loader of no images; expected some");
  if (batches() < 1) {
    fail(ErrorCode::kInvalidArgument,
         "batches of {} are more than the {} images there are; make them smaller, or keep the "
         "incomplete last one (drop_last = false)",
         std::int64_t{o.batch_size} * o.world_size, dataset->size());
  }
  if (o.views.empty() || (o.views != std::vector{View{}} && !(augmentation == Augmentation{}))) {
    fail(ErrorCode::kInvalidArgument,
         "a loader of {} views of each image; expected at least 1, and the centre alone with "
         "augmentation",
         o.views.size());
  }
  const auto n = static_cast<std::int64_t>(o.views.size()) * o.batch_size;
  const Preprocessing& p = preprocessing;
  image_shape = o.layout == DataLayout::kNCHW ? Shape{n, p.channels, p.height, p.width}
                                              : Shape{n, p.height, p.width, p.channels};
  target_shape = {o.batch_size, static_cast<std::int64_t>(dataset->class_names().size())};
  order.resize(static_cast<std::size_t>(dataset->size()));
  slots.resize(static_cast<std::size_t>(o.prefetch));
  try {
    threads.reserve(static_cast<std::size_t>(o.threads));
    for (int t = 0; t < o.threads; ++t) threads.emplace_back([this] { work(); });
  } catch (...) {  // no thread, no memory: those that run must not outlive this
    end_threads();
    throw;
  }
}

Loader::State::~State() { end_threads(); }

void Loader::State::end_threads() {
  {
    const std::lock_guard lock(mutex);
    quit = true;
    cancelled = true;
  }
  work_came.notify_all();
  for (std::thread& t : threads) t.join();
}

std::int64_t Loader::State::batches() const {
  const std::int64_t global = std::int64_t{options.batch_size} * options.world_size;
  return (dataset->size() + (options.drop_last ? 0 : global - 1)) / global;
}

/// Rows that this rank has in a batch; none in the last one when the other ranks got them all.
int Loader::State::rows_of(std::int64_t number) const {
  const std::int64_t begin = (number * options.world_size + options.rank) * options.batch_size;
  return static_cast<int>(std::clamp<std::int64_t>(dataset->size() - begin, 0, options.batch_size));
}

/// Returns with no chunk being worked on and none to be had.
void Loader::State::stop_epoch(std::unique_lock<std::mutex>& lock) {
  total = 0;
  cancelled = true;
  batch_came.wait(lock, [&] { return busy == 0; });
  cancelled = false;
}

/// The next rows to be made, of batches below `limit`.
std::optional<Chunk> Loader::State::claim(std::int64_t limit) {
  limit = std::min({limit, total, consumed + static_cast<std::int64_t>(slots.size())});
  if (claimed >= limit) return {};
  if (claimed_rows == 0) {
    try {
      begin_batch(claimed);
    } catch (...) {  // no memory: the consumer is told when it gets there
      Slot& slot = slot_of(claimed);
      slot.failure = std::current_exception();
      slot.batch.count = slot.unfinished = 0;
    }
  }
  const int rows = slot_of(claimed).batch.count;
  Chunk chunk{claimed, claimed_rows, std::min(rows, claimed_rows + chunk_rows)};
  claimed_rows = chunk.end;
  if (claimed_rows >= rows) {
    ++claimed;
    claimed_rows = 0;
  }
  return chunk;
}

void Loader::State::begin_batch(std::int64_t number) {
  Slot& slot = slot_of(number);
  slot.ready = false;
  slot.failure = nullptr;
  Batch& batch = slot.batch;
  batch.count = rows_of(number);
  slot.unfinished = batch.count;
  if (batch.images.shape() != image_shape || batch.images.dtype() != DType::kF32) {
    batch.images = Tensor(DType::kF32, image_shape);
  }
  if (batch.targets.shape() != target_shape || batch.targets.dtype() != DType::kF32) {
    batch.targets = Tensor(DType::kF32, target_shape);
  }
  const auto rows = static_cast<std::size_t>(options.batch_size);
  batch.labels.assign(rows, -1);
  batch.indices.assign(rows, -1);
  const auto used = static_cast<std::size_t>(batch.count);
  auto targets = batch.targets.as<float>();
  std::fill(targets.begin(), targets.end(), 0.0F);
  auto images = batch.images.as<float>();
  std::fill(images.begin() + static_cast<std::ptrdiff_t>(images.size() / rows * used), images.end(),
            0.0F);
}

/// Does the work of a chunk, with the lock released, and finishes the batch if it was the last.
void Loader::State::process(const Chunk& chunk, Scratch& scratch,
                            std::unique_lock<std::mutex>& lock) {
  Slot& slot = slot_of(chunk.number);
  ++busy;
  lock.unlock();
  std::exception_ptr failure;
  try {
    for (int row = chunk.begin; row < chunk.end && !cancelled; ++row) fill_row(chunk, row, scratch);
  } catch (...) {
    failure = std::current_exception();
  }
  lock.lock();
  if (failure && !slot.failure) slot.failure = failure;
  slot.unfinished -= chunk.end - chunk.begin;
  if (slot.unfinished == 0) {
    if (!slot.failure && !cancelled) {
      lock.unlock();
      try {
        mix_batch(augmentation,
                  Random(options.seed ^ kMixStream, static_cast<std::uint64_t>(epoch),
                         static_cast<std::uint64_t>(chunk.number) *
                                 static_cast<std::uint64_t>(options.world_size) +
                             static_cast<std::uint64_t>(options.rank)),
                  options.layout, slot.batch, scratch.row);
      } catch (...) {
        failure = std::current_exception();
      }
      lock.lock();
      if (failure && !slot.failure) slot.failure = failure;
    }
    slot.ready = true;
  }
  --busy;
  if (slot.ready || busy == 0) batch_came.notify_all();
}

void Loader::State::fill_row(const Chunk& chunk, int row, Scratch& scratch) {
  Batch& batch = slot_of(chunk.number).batch;
  const auto r = static_cast<std::size_t>(row);
  auto images = batch.images.as<float>();
  const std::size_t pixels = images.size() / static_cast<std::size_t>(options.batch_size);
  float* out = images.data() + r * pixels;
  const std::int64_t position =
      (chunk.number * options.world_size + options.rank) * options.batch_size + row;
  const std::int64_t wanted = order[static_cast<std::size_t>(position)];
  const Random random(options.seed ^ kAugmentStream, static_cast<std::uint64_t>(epoch),
                      static_cast<std::uint64_t>(wanted));
  batch.indices[r] = wanted;
  for (std::int64_t tried = 0; tried < dataset->size(); ++tried) {
    const std::int64_t index = (wanted + tried) % dataset->size();
    if (make_input(index, random, out, scratch)) {
      const int label = dataset->label(index);
      batch.indices[r] = index;
      batch.labels[r] = label;
      batch.targets.as<float>()[r * static_cast<std::size_t>(target_shape[1]) +
                                static_cast<std::size_t>(label)] = 1.0F;
      return;
    }
    if (!options.replace_bad) {
      std::fill_n(out, pixels, 0.0F);
      return;
    }
  }
  fail(ErrorCode::kBadData, "none of {} images can be read, e.g. {}", dataset->size(),
       dataset->name(wanted));
}

/// Alternating flips: half of the images in the first epoch, the others in the next, …
bool Loader::State::is_mirrored(std::int64_t index) const {
  if (!augmentation.alternate_flip) return false;
  Random random(options.seed ^ kFlipStream, 0, static_cast<std::uint64_t>(index));
  return random.bernoulli(0.5) != (epoch % 2 == 1);
}

/// False when the image cannot be read; throws when there are too many of them.
bool Loader::State::make_input(std::int64_t index, const Random& random, float* out,
                               Scratch& scratch) {
  std::string reason;
  bool known = false;
  if (any_bad) {
    const std::lock_guard lock(bad_mutex);
    known = bad.contains(index);
  }
  if (!known) {
    const bool ok = try_image(reason, [&] {
      const Preprocessing& p = preprocessing;
      const int reduced = !augmentation.fast_decode ? 0
                          : p.resize > 0            ? p.resize
                                                    : std::max(p.width, p.height);
      Image& image = scratch.image;
      Random stream = random;
      PartPicker pick;
      if (augmentation.random_resized_crop) {
        pick = [&](int width, int height, int orientation) {
          return augmenter.pick(width, height, orientation, stream);
        };
      }
      if (reduced > 0 || pick || p.scale_16bit != Scale16Bit::kClip) {
        dataset->read_part(index, {.shorter = reduced, .pick = pick, .scale_16bit = p.scale_16bit},
                           image);
      } else {
        dataset->read(index, image);
      }
      if (augmentation == Augmentation{}) {
        augmenter.look(image, options.views, out, options.layout, scratch.augment);
      } else {
        augmenter.finish(image, stream, is_mirrored(index), out, options.layout, scratch.augment);
      }
    });
    if (ok) {
      note_traits(index, scratch.image, out);
      return true;
    }
  }
  const std::lock_guard lock(bad_mutex);
  if (!known) bad.try_emplace(index, std::move(reason));
  any_bad = true;
  const auto limit = options.max_bad_fraction * static_cast<double>(dataset->size());
  if (static_cast<double>(bad.size()) > limit) {
    fail(ErrorCode::kBadData,
         "{} of {} images cannot be read so far, more than the {:g} % allowed; `resnet data "
         "check` "
         "lists them; the first: {}",
         bad.size(), dataset->size(), 100 * options.max_bad_fraction, bad.begin()->second);
  }
  return false;
}

/// `out` is the first view of the image.
void Loader::State::note_traits(std::int64_t index, const Image& image, const float* out) {
  constexpr std::size_t kMost = 256;
  if (image.clipped) {
    const std::lock_guard lock(bad_mutex);
    clipped.resize(static_cast<std::size_t>(dataset->size()));
    clipped[static_cast<std::size_t>(index)] = true;
  }
  if (enough_traits || !(augmentation == Augmentation{})) return;
  const ImageTraits own{std::min(image.width, image.height),
                        sharpness_of(out, preprocessing, options.layout)};
  const std::lock_guard lock(bad_mutex);
  if (traits.size() < kMost) traits.push_back(own);
  enough_traits = traits.size() >= kMost;
}

void Loader::State::work() {
  Scratch scratch;
  std::unique_lock lock(mutex);
  while (!quit) {
    if (const auto chunk = claim(total)) {
      process(*chunk, scratch, lock);
    } else {
      work_came.wait(lock);
    }
  }
}

Loader::Loader(DatasetPtr dataset, const Preprocessing& preprocessing,
               const Augmentation& augmentation, const LoaderOptions& options) try
    : state_(std::make_unique<State>(std::move(dataset), preprocessing, augmentation, options)) {
} catch (...) {
  throw_as_error();
}

Loader::~Loader() = default;

std::int64_t Loader::batches_per_epoch() const { return state_->batches(); }
const Dataset& Loader::dataset() const { return *state_->dataset; }
const LoaderOptions& Loader::options() const { return state_->options; }

void Loader::start_epoch(std::int64_t epoch, std::int64_t first_batch) try {
  State& s = *state_;
  const std::int64_t batches = s.batches();
  if (epoch < 0 || first_batch < 0 || first_batch > batches) {
    fail(ErrorCode::kInvalidArgument,
         "epoch {} from batch {}; expected an epoch of at least 0 and one of its {} batches", epoch,
         first_batch, batches);
  }
  {
    std::unique_lock lock(s.mutex);
    s.stop_epoch(lock);
    s.epoch = epoch;
    Random random(s.options.seed ^ kShuffleStream, static_cast<std::uint64_t>(epoch));
    const auto count = static_cast<std::int64_t>(s.order.size());
    const std::int64_t buffer = s.options.shuffle_buffer;
    if (s.options.shuffle && !s.shard_starts.empty() && buffer > 0 && buffer < count) {
      s.order = buffered_order(s.shard_starts, count, buffer, random);
    } else {
      std::iota(s.order.begin(), s.order.end(), std::int64_t{0});
      if (s.options.shuffle) shuffle(s.order, random);
    }
    for (Slot& slot : s.slots) slot.ready = false;
    s.consumed = s.claimed = first_batch;
    s.claimed_rows = 0;
    s.total = batches;
  }
  s.work_came.notify_all();
} catch (...) {
  throw_as_error();
}

bool Loader::next(Batch& batch) try {
  State& s = *state_;
  {
    std::unique_lock lock(s.mutex);
    if (s.consumed >= s.total) return false;
    Slot& slot = s.slot_of(s.consumed);
    if (!slot.ready) {
      const auto begin = std::chrono::steady_clock::now();
      while (!slot.ready) {
        if (const auto chunk = s.claim(s.consumed + 1)) {
          s.process(*chunk, s.own_scratch, lock);
        } else {
          s.batch_came.wait(lock);
        }
      }
      s.waited += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    }
    if (slot.failure) std::rethrow_exception(slot.failure);
    std::swap(batch, slot.batch);
    slot.ready = false;
    ++s.consumed;
  }
  s.work_came.notify_all();
  return true;
} catch (...) {
  throw_as_error();
}

double Loader::wait_seconds() const {
  const std::lock_guard lock(state_->mutex);
  return state_->waited;
}

std::vector<BadImage> Loader::bad_images() const try {
  const std::lock_guard lock(state_->bad_mutex);
  std::vector<BadImage> list;
  for (const auto& [index, reason] : state_->bad) {
    const std::string name = state_->dataset->name(index);
    list.push_back({index, name, without_name(reason, name)});
  }
  return list;
} catch (...) {
  throw_as_error();
}

std::string Loader::bad_reason(std::int64_t index) const {
  const std::lock_guard lock(state_->bad_mutex);
  const auto found = state_->bad.find(index);
  if (found == state_->bad.end()) return {};
  return without_name(found->second, state_->dataset->name(index));
}

ClippedImages Loader::clipped() const {
  const std::lock_guard lock(state_->bad_mutex);
  ClippedImages result;
  for (std::size_t i = 0; i < state_->clipped.size(); ++i) {
    if (state_->clipped[i]) result.add(state_->dataset->name(static_cast<std::int64_t>(i)));
  }
  return result;
}

std::vector<ImageTraits> Loader::traits() const {
  const std::lock_guard lock(state_->bad_mutex);
  return state_->traits;
}

LoaderOptions evaluation_options(int batch_size, int threads) {
  LoaderOptions options;
  options.batch_size = batch_size;
  options.threads = threads;
  options.shuffle = false;
  options.drop_last = false;
  options.replace_bad = false;
  return options;
}

}  // namespace resnet
