// A Gauntlet policy in C++: gauntlet.h with text as std::string_view and a policy as a class.
//
// Write a class with configure, and with relabel, with admit and inputs, or with all three, and after it
// GAUNTLET_POLICY(Class). Never keep anything between calls but what configure made of the settings: the gateway remembers
// verdicts, so a policy must depend on its settings, its context and the series alone. Text that a call is given is gone after
// it; a std::string keeps it.
#pragma once

#define GAUNTLET_RELABEL
#define GAUNTLET_ADMIT
#include "gauntlet.h"

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace gauntlet {

inline std::string_view view(gauntlet_text text) { return {text.ptr, text.len}; }
inline gauntlet_text text(std::string_view view) { return {view.data(), view.size()}; }

// A copy that lasts until the call is over, with a zero at its end.
inline const char *lend(std::string_view view) {
  char *copy = static_cast<char *>(gauntlet_alloc(view.size() + 1));
  view.copy(copy, view.size());
  copy[view.size()] = 0;
  return copy;
}

// Where the policy is in force. The first upstream takes what is not routed.
class Context {
 public:
  explicit Context(const gauntlet_context &context) : context_(context) {}
  std::string_view tenant() const { return view(context_.tenant); }
  bool has_upstream(std::string_view name) const {
    for (const auto &upstream : std::span(context_.upstreams, context_.upstream_count))
      if (view(upstream) == name) return true;
    return false;
  }

 private:
  const gauntlet_context &context_;
};

// The labels of one series, and what becomes of it. One that is left alone is kept.
class Series {
 public:
  explicit Series(gauntlet_series *series) : series_(series) {}
  // Empty where there is no such label.
  std::string_view value(const char *name) const { return view(gauntlet_value(series_, name)); }
  // An empty value removes the label.
  void set(std::string_view name, std::string_view value) { gauntlet_set(series_, lend(name), text(lent(value))); }
  void remove(const char *name) { gauntlet_remove(series_, name); }
  // The reason is counted and shown: one of a few short words.
  void drop(std::string_view reason) { gauntlet_drop(series_, lend(reason)); }
  // The stream in which it travels from here on; a decision may route it.
  void assign_stream(std::string_view name) { gauntlet_stream(series_, lend(name)); }
  // New series are refused where the budget has as many active ones already.
  void assign_budget(std::string_view name, uint64_t max_active_series) {
    gauntlet_budget(series_, lend(name), max_active_series);
  }

 private:
  static std::string_view lent(std::string_view value) { return {lend(value), value.size()}; }
  gauntlet_series *series_;
};

// One write, after every series was judged. Of what inputs does not name the numbers are zero.
class Write {
 public:
  explicit Write(const gauntlet_write &write) : write(write) {}
  std::span<const gauntlet_stream_totals> streams() const { return {write.streams, write.stream_count}; }
  const gauntlet_write &write;
};

// About a write, which is admitted unless it is rejected.
class Decision {
 public:
  explicit Decision(gauntlet_decision *decision) : decision_(decision) {}
  void charge(std::string_view bucket, uint64_t tokens, double per_second, uint64_t burst) {
    gauntlet_charge(decision_, lend(bucket), tokens, per_second, burst);
  }
  void route(std::string_view stream, std::string_view upstream) { gauntlet_route(decision_, lend(stream), text({lend(upstream), upstream.size()})); }
  // For good (400); the text is shown to the sender.
  void reject(std::string_view reason) { gauntlet_reject(decision_, text({lend(reason), reason.size()})); }

 private:
  gauntlet_decision *decision_;
};

// What settings may hold, and where each value goes. A key that is not bound is an error.
class Settings {
 public:
  Settings &text(const char *key, std::string &into) { return bind(key, GAUNTLET_STRING, &into, nullptr); }
  Settings &number(const char *key, double &into) { return bind(key, GAUNTLET_NUMBER, nullptr, &into); }
  // Gives what is wrong, if anything is.
  std::optional<std::string> read(std::string_view json) {
    gauntlet_text wrong = gauntlet_read_settings(gauntlet::text(json), known_, count_);
    if (wrong.len) return std::string(view(wrong));
    for (size_t i = 0; i < count_; i++) {
      if (known_[i].given && texts_[i]) *texts_[i] = view(known_[i].text);
      if (known_[i].given && numbers_[i]) *numbers_[i] = known_[i].number;
    }
    return std::nullopt;
  }

 private:
  static constexpr size_t kMost = 32;
  Settings &bind(const char *key, gauntlet_kind kind, std::string *text, double *number) {
    if (count_ == kMost) gauntlet_panic("more settings than gauntlet.hpp has room for");
    known_[count_] = {key, kind, false, {"", 0}, 0};
    texts_[count_] = text;
    numbers_[count_++] = number;
    return *this;
  }
  gauntlet_setting known_[kMost];
  std::string *texts_[kMost];
  double *numbers_[kMost];
  size_t count_ = 0;
};

inline void log(gauntlet_level level, std::string_view message) { gauntlet_log(level, text(message)); }

}  // namespace gauntlet

// Exports the class. A policy for series alone, or for writes alone, leaves the other functions empty.
#define GAUNTLET_POLICY(Class)                                                                                       \
  static Class gauntlet_policy;                                                                                      \
  gauntlet_text policy_configure(gauntlet_text settings, const gauntlet_context *context) {                          \
    gauntlet_policy = Class();                                                                                       \
    std::optional<std::string> wrong = gauntlet_policy.configure(gauntlet::view(settings), gauntlet::Context(*context)); \
    return wrong ? gauntlet_of(gauntlet::lend(*wrong)) : gauntlet_of("");                                            \
  }                                                                                                                  \
  void policy_relabel(gauntlet_series *series) {                                                                     \
    gauntlet::Series changed(series);                                                                                \
    gauntlet_policy.relabel(changed);                                                                                \
  }                                                                                                                  \
  int policy_inputs(void) { return gauntlet_policy.inputs(); }                                                       \
  void policy_admit(const gauntlet_write *write, gauntlet_decision *decision) {                                      \
    gauntlet::Decision made(decision);                                                                               \
    gauntlet_policy.admit(gauntlet::Write(*write), made);                                                            \
  }
