#include "backends/cpu/tuner.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "backends/cpu/cpu_target.h"
#include "core/check.h"
#include "core/file.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace resnet {
namespace {

// Memory for one operand: lines of ones, so that no arithmetic meets denormal numbers.
class Operand {
 public:
  explicit Operand(std::size_t bytes)
      : memory_(static_cast<float*>(::operator new (bytes + 64, std::align_val_t{64}))) {
    std::fill_n(memory_.get(), (bytes + 64) / sizeof(float), 1.0F);
  }
  void* data() const { return memory_.get(); }

 private:
  struct Free {
    void operator()(float* p) const { ::operator delete (p, std::align_val_t{64}); }
  };
  std::unique_ptr<float, Free> memory_;
};

// A kernel with memory of its own.
struct Trial {
  KernelChoice choice;
  std::vector<Operand> memory;
  std::vector<void*> in, out;
  std::unique_ptr<KernelState> state;

  Trial(const CpuTarget& target, KernelChoice c, const std::vector<TensorType>& inputs,
        const std::vector<TensorType>& outputs)
      : choice(std::move(c)), state(choice.kernel->make_state()) {
    const auto add = [&](std::size_t bytes) { return memory.emplace_back(bytes).data(); };
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      in.push_back(add(target.bytes(inputs[i], choice.inputs[i])));
    }
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      out.push_back(add(target.bytes(outputs[i], choice.outputs[i])));
    }
    add(choice.scratch_bytes);
  }
  void run() { choice.kernel->run({in, out, memory.back().data(), {}, state.get()}); }
};

// What a choice brings with it: the kernel, and changes of layout that would not be there without
// it. Weights that do not change in a run of the program cost nothing.
std::vector<Trial> trials(const NodeView& v, KernelChoice choice) {
  std::vector<Trial> list;
  const bool fixed =
      v.node.op == Op::kConv2d &&
      (v.graph.mode() == Mode::kInference || v.graph.node(v.node.inputs[1]).op == Op::kFoldWeights);
  const auto reorder = [&](const TensorType& type, Layout from, Layout to) {
    if (from == to) return;
    list.emplace_back(v.target, v.target.reorder(type, from, to), std::vector{type},
                      std::vector{type});
  };
  std::vector<TensorType> inputs;
  for (std::size_t i = 0; i < v.node.inputs.size(); ++i) {
    inputs.push_back(v.in(i));
    const bool weights = i == 1 && v.node.op != Op::kConv2dBackwardWeights;
    if (!(weights && fixed)) reorder(v.in(i), v.have[i], choice.inputs[i]);
  }
  // Whoever reads an activation wants it where our own kernels have it, and a gradient of weights
  // plain.
  const bool gradient = v.node.op == Op::kConv2dBackwardWeights;
  reorder(v.out(), choice.outputs[0], gradient ? kPlainLayout : activation_layout(v.out().dtype));
  list.emplace_back(v.target, std::move(choice), inputs, v.node.outputs);
  return list;
}

// In a network other layers' data pass through the caches between two runs of one.
void pollute_caches() {
  constexpr std::size_t kFloats = std::size_t{1} << 20;
  // Made outside of the threads of OpenMP, which no exception may leave.
  static thread_local std::vector<float> others;
  others.resize(kFloats * static_cast<std::size_t>(omp_get_max_threads()), 1.0F);
  float* const all = others.data();
#pragma omp parallel
  {
    float* const own = all + kFloats * static_cast<std::size_t>(omp_get_thread_num());
    for (std::size_t i = 0; i < kFloats; ++i) own[i] += 1.0F;
  }
}

double seconds_of(std::vector<Trial>& list) {
  pollute_caches();
  const auto start = std::chrono::steady_clock::now();
  for (Trial& t : list) t.run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The least of a few runs; fewer when they are long, or when it is clear that `best` is not beaten.
double measure(std::vector<Trial>& list, double best) {
  seconds_of(list);  // first touches of memory
  double least = seconds_of(list), total = least;
  for (int i = 0; i < 9 && total < 0.1 && least < 1.3 * best; ++i) {
    const double s = seconds_of(list);
    least = std::min(least, s);
    total += s;
  }
  return least;
}

}  // namespace

Tuner::Tuner(std::filesystem::path file) : file_(std::move(file)) {
  if (file_.empty()) return;
  try {
    table_ = parse_kernel_table(read_text_file(file_), file_.string());
  } catch (const Error&) {  // there is none, or it is damaged: everything is measured
  }
}

std::string Tuner::fastest(const NodeView& v, const std::function<std::string()>& make_key,
                           const std::vector<KernelCandidate>& list) {
  if (file_.empty() || list.size() < 2) return "";
  const std::string key = make_key();
  const auto known = table_.find(key);
  const auto offered = [&](const std::string& name) {
    return std::any_of(list.begin(), list.end(), [&](const auto& c) { return c.name == name; });
  };
  if (known != table_.end() && offered(known->second)) return known->second;
  std::string winner;
  double best = 1e30;
  for (const KernelCandidate& c : list) {
    try {
      KernelChoice choice = c.make();
      if (choice.name.rfind("ref", 0) == 0) continue;  // oneDNN's naive loops
      std::vector<Trial> work = trials(v, std::move(choice));
      const double seconds = measure(work, best);
      if (seconds < best) {
        best = seconds;
        winner = c.name;
      }
    } catch (const dnnl::error&) {
    }
  }
  if (!winner.empty()) remember(key, winner);
  return winner;
}

// Another process may have measured meanwhile: its lines stay. If two write at the same moment, one
// loses what it added to the file, and it is measured again some day.
void Tuner::remember(const std::string& key, const std::string& kernel) {
  table_[key] = kernel;
  try {
    std::filesystem::create_directories(file_.parent_path());
    KernelTable all = Tuner(file_).table_;
    all[key] = kernel;
    write_file_atomic(file_, format_kernel_table(all));
  } catch (const Error&) {  // a folder that cannot be written costs time, no more
  } catch (const std::filesystem::filesystem_error&) {
  }
}

std::string machine_key() {
  std::string model = "unknown";
#if defined(__x86_64__)
  std::array<unsigned, 12> words{};
  if (static_cast<unsigned>(__get_cpuid_max(0x80000000U, nullptr)) >= 0x80000004U) {
    for (unsigned i = 0; i < 3; ++i) {
      __get_cpuid(0x80000002U + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2],
                  &words[4 * i + 3]);
    }
    std::array<char, sizeof(words) + 1> text{};
    std::memcpy(text.data(), words.data(), sizeof(words));
    model = text.data();
  }
#endif
  for (char& c : model) {
    if (c < ' ' || c > '~') c = '?';
  }
  const dnnl_version_t* version = dnnl_version();
  return fmt::format("{}, isa {:#x}, oneDNN {}.{}.{}", model,
                     static_cast<int>(dnnl::get_effective_cpu_isa()), version->major,
                     version->minor, version->patch);
}

}  // namespace resnet
