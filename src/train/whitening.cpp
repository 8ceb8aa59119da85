// Whitening as in Coates & Ng 2012, "Learning feature representations with k-means", section 3.
#include "train/whitening.h"

#include <Eigen/Eigenvalues>

#include "core/check.h"
#include "data/each_batch.h"
#include "train/evaluator.h"
#include "train/recipe.h"

namespace resnet {
namespace {

constexpr std::int64_t kImages = 2000;
// Added to the variances, which are about 1 for the pixels themselves: faint directions are noise.
constexpr double kFloor = 5e-4;

// Of all k x k patches of the images in x [n, c, h, w], the sum of their outer products.
void add_patches(const Tensor& x, std::int64_t rows, std::int64_t k, Eigen::MatrixXd& sum,
                 std::int64_t& count) {
  const std::int64_t c = x.dim(1), h = x.dim(2), w = x.dim(3);
  const auto values = x.as<float>();
  const Eigen::Index d = sum.rows();
  Eigen::MatrixXd patches(d, w - k + 1);  // of one row of one image
  for (std::int64_t n = 0; n < rows; ++n) {
    for (std::int64_t y = 0; y + k <= h; ++y) {
      for (Eigen::Index i = 0; i < d; ++i) {
        const std::int64_t ch = i / (k * k), dy = i / k % k, dx = i % k;
        for (std::int64_t left = 0; left + k <= w; ++left) {
          patches(i, left) =
              values[static_cast<std::size_t>(((n * c + ch) * h + y + dy) * w + left + dx)];
        }
      }
      sum.selfadjointView<Eigen::Lower>().rankUpdate(patches);
      count += patches.cols();
    }
  }
}

}  // namespace

Tensor whitening_filters(const TrainOptions& o, const Dataset& train, const Shape& shape) {
  const std::int64_t d = element_count(shape) / shape.at(0);
  if (shape.size() != 4 || shape[0] != 2 * d || shape[2] != shape[3] ||
      shape[1] != o.model.channels || shape[2] > o.model.image_size) {
    fail(ErrorCode::kInvalidArgument,
         "a whitening layer needs 2 · c · k · k filters of c · k · k weights, it has {}",
         to_string(shape));
  }
  // The data set outlives this function.
  const DatasetPtr all(&train, [](const Dataset*) {});
  const std::int64_t images = std::min(train.size(), kImages);
  std::vector<std::int64_t> sample;
  for (std::int64_t i = 0; i < images; ++i) sample.push_back(i * train.size() / images);
  LoaderOptions load = evaluation_options(static_cast<int>(std::min<std::int64_t>(images, 100)),
                                          loader_threads(o.loader_threads));
  load.max_bad_fraction = 1;
  Loader loader(make_subset(all, std::move(sample)), preprocessing_of(o, train), Augmentation{},
                load);
  Eigen::MatrixXd sum = Eigen::MatrixXd::Zero(d, d);
  std::int64_t count = 0;
  for_each_batch(loader, {}, [&](const Batch& batch) {
    add_patches(batch.images, batch.count, shape[2], sum, count);
  });
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(
      sum / static_cast<double>(std::max<std::int64_t>(count, 1)));
  if (solver.info() != Eigen::Success || !solver.eigenvalues().allFinite()) {
    fail(ErrorCode::kNumeric, "the patches of the training images cannot be whitened");
  }
  Tensor filters(DType::kF32, Shape(shape));
  const auto w = filters.as<float>();
  for (Eigen::Index i = 0; i < d; ++i) {
    const Eigen::Index from = d - 1 - i;  // the largest first
    Eigen::VectorXd v = solver.eigenvectors().col(from) /
                        std::sqrt(std::max(0.0, solver.eigenvalues()(from)) + kFloor);
    Eigen::Index largest = 0;
    v.cwiseAbs().maxCoeff(&largest);
    if (v(largest) < 0) v = -v;  // of two equal solutions always the same
    for (Eigen::Index j = 0; j < d; ++j) {
      w[static_cast<std::size_t>(i * d + j)] = static_cast<float>(v(j));
      w[static_cast<std::size_t>((d + i) * d + j)] = static_cast<float>(-v(j));
    }
  }
  return filters;
}

}  // namespace resnet
