#include "train/curves.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "core/file.h"
#include "resnet/error.h"
#include "train/support.h"

namespace resnet {
namespace {

namespace fs = std::filesystem;

class CurvesTest : public FolderTest {
 protected:
  fs::path run(const std::string& name, const std::string& rows) {
    fs::create_directories(folder_ / name);
    write_file_atomic(folder_ / name / "metrics.csv", "epoch,step,val_top1,seconds\n" + rows);
    return folder_ / name;
  }
  static std::string error_of(const std::vector<RunGroup>& groups, const std::string& metric,
                              ErrorCode code) {
    try {
      curves_of(groups, {metric}, CurveAxis::kEpoch);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), code);
      return e.what();
    }
    ADD_FAILURE() << "no error";
    return {};
  }
};

using Values = std::vector<double>;

TEST_F(CurvesTest, OneRunIsALine) {
  const fs::path a = run("a", "1,10,0.5,2\n2,20,0.75,3\n");
  const Curves c = curves_of({{"a", {a}}}, {"val_top1"}, CurveAxis::kEpoch);
  ASSERT_EQ(c.series.size(), 1U);
  EXPECT_EQ(c.series[0].name, "a");
  EXPECT_EQ(c.series[0].x, (Values{1, 2}));
  EXPECT_EQ(c.series[0].y, (Values{0.5, 0.75}));
  EXPECT_TRUE(c.series[0].low.empty());
  const auto x_of = [&](CurveAxis x) {
    return curves_of({{"a", {a}}}, {"val_top1"}, x).series[0].x;
  };
  EXPECT_EQ(x_of(CurveAxis::kStep), (Values{10, 20}));
  EXPECT_EQ(x_of(CurveAxis::kSeconds), (Values{2, 5}));
}

TEST_F(CurvesTest, AGroupIsItsMeanAndRange) {
  const RunGroup group{"g",
                       {run("a", "1,10,0.5,2\n2,20,0.25,2\n"), run("b", "1,10,1,4\n2,20,0.75,4\n"),
                        run("c", "1,10,0,6\n2,20,0.5,6\n3,30,0.5,6\n") / "metrics.csv"}};
  const Curves c = curves_of({group}, {"val_top1"}, CurveAxis::kSeconds);
  ASSERT_EQ(c.series.size(), 1U);
  EXPECT_EQ(c.series[0].x, (Values{4, 8}));
  EXPECT_EQ(c.series[0].y, (Values{0.5, 0.5}));
  EXPECT_EQ(c.series[0].low, (Values{0, 0.25}));
  EXPECT_EQ(c.series[0].high, (Values{1, 0.75}));
  EXPECT_EQ(c.notes, (std::vector<std::string>{
                         "g: its runs have 2 to 3 epochs; the curve ends with the shortest"}));
}

TEST_F(CurvesTest, MetricsAreNamed) {
  const fs::path a = run("a", "1,10,0.5,2\n");
  const auto names = [&](const std::vector<RunGroup>& groups) {
    std::vector<std::string> all;
    for (const auto& s : curves_of(groups, {"val_top1", "step"}, CurveAxis::kEpoch).series) {
      all.push_back(s.name);
    }
    return all;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(names({{"a", {a}}}), (Names{"validation top-1", "step"}));
  EXPECT_EQ(names({{"a", {a}}, {"b", {a}}}),
            (Names{"a, validation top-1", "a, step", "b, validation top-1", "b, step"}));
  EXPECT_TRUE(axis_of({"val_top1", "train_accuracy"}).percent);
  EXPECT_FALSE(axis_of({"val_top1", "val_loss"}).percent);
  EXPECT_EQ(axis_of({"train_loss", "val_loss"}).label, "loss");
}

TEST_F(CurvesTest, ErrorsSayWhatIsMissing) {
  const fs::path a = run("a", "1,10,0.5,2\n"), empty = run("empty", "");
  const auto has = [](const std::string& text, const std::string& what) {
    EXPECT_NE(text.find(what), std::string::npos) << text;
  };
  has(error_of({{"x", {folder_ / "none"}}}, "lr", ErrorCode::kNotFound), "no such file or folder");
  has(error_of({{"x", {folder_}}}, "lr", ErrorCode::kNotFound), "no metrics.csv");
  has(error_of({{"x", {a}}}, "val_top5", ErrorCode::kInvalidArgument),
      "it has epoch, step, val_top1, seconds");
  has(error_of({{"x", {empty}}}, "val_top1", ErrorCode::kBadData), "no epoch yet");
  write_file_atomic(empty / "metrics.csv", "epoch,val_top1\n1,x\n");
  has(error_of({{"x", {empty}}}, "val_top1", ErrorCode::kBadData), "line 2");
}

}  // namespace
}  // namespace resnet
