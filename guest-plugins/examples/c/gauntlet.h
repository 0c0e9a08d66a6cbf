/* A Gauntlet policy in C: the whole SDK, for contract gauntlet:policy@1.0.0.
 *
 * Include this in one file, after saying what the policy decides about:
 *
 *     #define GAUNTLET_RELABEL   series: write policy_configure and policy_relabel
 *     #define GAUNTLET_ADMIT     writes: write policy_configure, policy_admit and policy_inputs
 *
 * All memory of a call is freed after it, that of what the policy was told and of what it answers: a policy frees nothing.
 * What is to live longer, settings for instance, is copied with gauntlet_keep. Never keep anything else between calls:
 * the gateway remembers verdicts, so a policy must depend on its settings, its context and the series alone. */
#ifndef GAUNTLET_H
#define GAUNTLET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Text in UTF-8, without a zero at its end. */
typedef struct {
  const char *ptr;
  size_t len;
} gauntlet_text;

typedef struct {
  gauntlet_text name, value;
} gauntlet_label;

/* Where the policy is in force. The first upstream takes what is not routed. */
typedef struct {
  gauntlet_text tenant;
  const gauntlet_text *upstreams;
  size_t upstream_count;
} gauntlet_context;

/* A series is asked and changed by the functions below. */
typedef struct gauntlet_series gauntlet_series;

typedef struct {
  uint64_t series, samples, histograms, exemplars;
} gauntlet_totals;

typedef struct {
  gauntlet_text name; /* Empty: the default stream. */
  gauntlet_totals totals;
} gauntlet_stream_totals;

/* One write, after every series was judged. What policy_inputs does not name is zero. */
typedef struct {
  gauntlet_text tenant, subject, protocol;
  uint64_t compressed_bytes, decoded_bytes, active_series, new_series;
  const gauntlet_stream_totals *streams;
  size_t stream_count;
} gauntlet_write;

/* A write is admitted unless it is rejected; it is charged and routed by the functions below. */
typedef struct gauntlet_decision gauntlet_decision;

typedef enum {
  GAUNTLET_COMPRESSED_BYTES = 1,
  GAUNTLET_DECODED_BYTES = 2,
  GAUNTLET_ACTIVE_SERIES = 4,
  GAUNTLET_NEW_SERIES = 8,
  GAUNTLET_TOTALS = 16,
} gauntlet_inputs;

/* ---- What a policy writes -------------------------------------------------------------------------------------------- */

/* Called once, first. `settings` is JSON. Returns what is wrong, for the operator; empty if nothing is. */
gauntlet_text policy_configure(gauntlet_text settings, const gauntlet_context *context);

/* Decides about one series by changing it; one that is left alone is kept. */
void policy_relabel(gauntlet_series *series);

/* Decides about one write. */
void policy_admit(const gauntlet_write *write, gauntlet_decision *decision);

/* What decisions depend on, besides tenant, subject, protocol and the streams' names: 0, or some of gauntlet_inputs. */
int policy_inputs(void);

/* ---- What a policy may call ------------------------------------------------------------------------------------------ */

/* Of a series. A missing label's value is empty, and setting an empty value removes the label. */
gauntlet_text gauntlet_value(const gauntlet_series *series, const char *name);
void gauntlet_set(gauntlet_series *series, const char *name, gauntlet_text value);
void gauntlet_remove(gauntlet_series *series, const char *name);
/* The reason is counted and shown: one of a few short words. */
void gauntlet_drop(gauntlet_series *series, const char *reason);
/* The series travels in this stream, which a decision may route. */
void gauntlet_stream(gauntlet_series *series, const char *name);
/* New series are refused where this budget has as many active ones already. */
void gauntlet_budget(gauntlet_series *series, const char *name, uint64_t max_active_series);
/* For what is beyond the functions above: all labels; their names and values must not be written to. */
const gauntlet_label *gauntlet_labels(const gauntlet_series *series, size_t *count);

/* Of a decision. */
void gauntlet_charge(gauntlet_decision *decision, const char *bucket, uint64_t tokens, double per_second, uint64_t burst);
void gauntlet_route(gauntlet_decision *decision, const char *stream, gauntlet_text upstream);
/* For good (400); the text is shown to the sender. */
void gauntlet_reject(gauntlet_decision *decision, gauntlet_text text);

/* Of text. gauntlet_join makes one of all its arguments up to a null pointer. */
gauntlet_text gauntlet_of(const char *text);
bool gauntlet_is(gauntlet_text text, const char *other);
bool gauntlet_starts_with(gauntlet_text text, const char *prefix);
bool gauntlet_same(gauntlet_text a, gauntlet_text b);
gauntlet_text gauntlet_join(const gauntlet_text *parts, size_t count);
/* A copy for as long as the policy lives. */
gauntlet_text gauntlet_keep(gauntlet_text text);
/* Memory until the call is over. */
void *gauntlet_alloc(size_t size);

/* Of settings: a key that the policy knows, what its value must be, and the value if it was given. Lists and mappings are
 * beyond this reader; bring a JSON library for them. */
typedef enum { GAUNTLET_STRING, GAUNTLET_NUMBER } gauntlet_kind;
typedef struct {
  const char *key;
  gauntlet_kind kind;
  bool given;
  gauntlet_text text; /* Kept. */
  double number;
} gauntlet_setting;
/* Reads JSON into `known`. Returns what is wrong, a key that nobody knows for instance; empty if nothing is. */
gauntlet_text gauntlet_read_settings(gauntlet_text json, gauntlet_setting *known, size_t count);

typedef enum { GAUNTLET_DEBUG, GAUNTLET_INFO, GAUNTLET_WARN, GAUNTLET_ERROR } gauntlet_level;
/* Bounded lines in the gateway's log. */
void gauntlet_log(gauntlet_level level, gauntlet_text message);
/* Writes the text and the series that is being judged to the log, and ends the call: the gateway refuses the series or keeps
 * the write, as the operator has it. */
__attribute__((noreturn)) void gauntlet_panic(const char *text);

#ifdef __cplusplus
}
#endif

/* ---- The rest is how it works: the component model's canonical ABI, by hand. ------------------------------------------ */

#ifndef GAUNTLET_DECLARATIONS_ONLY

#ifdef __cplusplus
extern "C" {
#endif

#define GAUNTLET_EXPORT(name) __attribute__((export_name(name), used))

__attribute__((import_module("gauntlet:policy/log@1.0.0"), import_name("write"))) void gauntlet_log_write(int32_t level,
                                                                                                         const char *ptr,
                                                                                                         size_t len);

/* The structs from here to `gauntlet_decision` lie in memory as the contract's types do. */
typedef struct {
  gauntlet_text name;
  uint64_t max_active_series;
} gauntlet_budget_abi;

typedef struct {
  uint8_t has_labels;
  gauntlet_label *labels;
  size_t label_count;
  uint8_t has_stream;
  gauntlet_text stream;
  uint8_t has_budget;
  gauntlet_budget_abi budget;
} gauntlet_edit_abi;

enum { GAUNTLET_KEEP_TAG, GAUNTLET_DROP_TAG, GAUNTLET_EDIT_TAG };

typedef struct {
  uint8_t tag;
  union {
    gauntlet_text drop;
    gauntlet_edit_abi edit;
  } as;
} gauntlet_verdict_abi;

typedef struct {
  gauntlet_text bucket;
  uint64_t tokens;
  double per_second;
  uint64_t burst;
} gauntlet_charge_abi;

typedef struct {
  gauntlet_text stream, upstream;
} gauntlet_route_abi;

struct gauntlet_decision {
  uint8_t is_rejected;
  union {
    struct {
      gauntlet_charge_abi *charges;
      size_t charge_count;
      gauntlet_route_abi *routes;
      size_t route_count;
    } admit;
    gauntlet_text reject;
  } as;
};

typedef struct {
  uint8_t is_error;
  union {
    gauntlet_text error;
    struct {
      gauntlet_verdict_abi *ptr;
      size_t len;
    } verdicts;
    gauntlet_decision decision;
  } as;
} gauntlet_result_abi;

struct gauntlet_series {
  gauntlet_label *labels;
  size_t count, room;
  bool changed;
  gauntlet_verdict_abi *verdict;
};

#if defined(__cplusplus)
static_assert(sizeof(gauntlet_verdict_abi) == 56 && sizeof(gauntlet_decision) == 20, "as the contract has it");
#else
_Static_assert(sizeof(gauntlet_verdict_abi) == 56 && sizeof(gauntlet_decision) == 20, "as the contract has it");
#endif

/* Memory of one call: blocks of which the newest is filled. After a call that needed several, one that is as large is kept. */
typedef struct gauntlet_block {
  struct gauntlet_block *older;
  size_t size, used;
  size_t unused; /* So that what follows is aligned to 16 bytes. */
} gauntlet_block;

static gauntlet_block *gauntlet_newest;
static const gauntlet_series *gauntlet_judged;
static gauntlet_result_abi gauntlet_answer;

__attribute__((noreturn)) void gauntlet_panic(const char *text) {
  gauntlet_text parts[64] = {gauntlet_of(text)};
  size_t n = 1;
  if (gauntlet_judged) {
    parts[n++] = gauntlet_of(", judging {");
    for (size_t i = 0; i < gauntlet_judged->count && n + 5 < 64; i++) {
      parts[n++] = gauntlet_judged->labels[i].name;
      parts[n++] = gauntlet_of("=\"");
      parts[n++] = gauntlet_judged->labels[i].value;
      parts[n++] = gauntlet_of("\" ");
    }
    parts[n++] = gauntlet_of("}");
  }
  gauntlet_judged = NULL;
  gauntlet_log(GAUNTLET_ERROR, gauntlet_join(parts, n));
  __builtin_trap();
}

static gauntlet_block *gauntlet_add_block(size_t size) {
  gauntlet_block *block = (gauntlet_block *)malloc(sizeof *block + size);
  if (!block) __builtin_trap();
  block->older = gauntlet_newest;
  block->size = size;
  block->used = 0;
  return gauntlet_newest = block;
}

void *gauntlet_alloc(size_t size) {
  size = (size + 15) & ~(size_t)15;
  gauntlet_block *block = gauntlet_newest;
  if (!block || block->size - block->used < size) {
    size_t twice = block ? block->size * 2 : 16384;
    block = gauntlet_add_block(twice > size ? twice : size);
  }
  char *at = (char *)(block + 1) + block->used;
  block->used += size;
  return at;
}

static void gauntlet_free_call(void) {
  gauntlet_judged = NULL;
  if (gauntlet_newest && gauntlet_newest->older) {
    size_t size = 0;
    while (gauntlet_newest) {
      gauntlet_block *older = gauntlet_newest->older;
      size += gauntlet_newest->size;
      free(gauntlet_newest);
      gauntlet_newest = older;
    }
    gauntlet_add_block(size);
  }
  if (gauntlet_newest) gauntlet_newest->used = 0;
}

GAUNTLET_EXPORT("cabi_realloc") void *gauntlet_realloc(void *old, size_t old_size, size_t align, size_t size) {
  (void)align;
  void *at = gauntlet_alloc(size);
  if (old) memcpy(at, old, old_size < size ? old_size : size);
  return at;
}

/* Text. */

gauntlet_text gauntlet_of(const char *text) {
  gauntlet_text of = {text, strlen(text)};
  return of;
}

bool gauntlet_same(gauntlet_text a, gauntlet_text b) { return a.len == b.len && !memcmp(a.ptr, b.ptr, a.len); }

bool gauntlet_is(gauntlet_text text, const char *other) { return gauntlet_same(text, gauntlet_of(other)); }

bool gauntlet_starts_with(gauntlet_text text, const char *prefix) {
  size_t len = strlen(prefix);
  return text.len >= len && !memcmp(text.ptr, prefix, len);
}

gauntlet_text gauntlet_join(const gauntlet_text *parts, size_t count) {
  size_t len = 0;
  for (size_t i = 0; i < count; i++) len += parts[i].len;
  char *joined = (char *)gauntlet_alloc(len), *at = joined;
  for (size_t i = 0; i < count; i++) {
    memcpy(at, parts[i].ptr, parts[i].len);
    at += parts[i].len;
  }
  gauntlet_text text = {joined, len};
  return text;
}

gauntlet_text gauntlet_keep(gauntlet_text text) {
  char *copy = (char *)malloc(text.len + 1);
  if (!copy) __builtin_trap();
  memcpy(copy, text.ptr, text.len);
  copy[text.len] = 0;
  text.ptr = copy;
  return text;
}

void gauntlet_log(gauntlet_level level, gauntlet_text message) { gauntlet_log_write(level, message.ptr, message.len); }

/* Series. */

static gauntlet_label *gauntlet_find(const gauntlet_series *series, const char *name) {
  for (size_t i = 0; i < series->count; i++)
    if (gauntlet_is(series->labels[i].name, name)) return &series->labels[i];
  return NULL;
}

const gauntlet_label *gauntlet_labels(const gauntlet_series *series, size_t *count) {
  *count = series->count;
  return series->labels;
}

gauntlet_text gauntlet_value(const gauntlet_series *series, const char *name) {
  const gauntlet_label *label = gauntlet_find(series, name);
  gauntlet_text none = {"", 0};
  return label ? label->value : none;
}

void gauntlet_remove(gauntlet_series *series, const char *name) {
  gauntlet_label *label = gauntlet_find(series, name);
  if (!label) return;
  memmove(label, label + 1, (size_t)(series->labels + --series->count - label) * sizeof *label);
  series->changed = true;
}

void gauntlet_set(gauntlet_series *series, const char *name, gauntlet_text value) {
  if (!value.len) {
    gauntlet_remove(series, name);
    return;
  }
  gauntlet_label *label = gauntlet_find(series, name);
  if (label && gauntlet_same(label->value, value)) return;
  if (!label && series->count == series->room) {
    gauntlet_label *larger = (gauntlet_label *)gauntlet_alloc((series->room + 8) * sizeof *larger);
    memcpy(larger, series->labels, series->count * sizeof *larger);
    series->labels = larger;
    series->room += 8;
  }
  if (!label) {
    label = &series->labels[series->count++];
    label->name = gauntlet_of(name);
  }
  label->value = value;
  series->changed = true;
}

void gauntlet_drop(gauntlet_series *series, const char *reason) {
  series->verdict->tag = GAUNTLET_DROP_TAG;
  series->verdict->as.drop = gauntlet_of(reason);
}

static gauntlet_edit_abi *gauntlet_edit(gauntlet_series *series) {
  static gauntlet_edit_abi dropped;
  if (series->verdict->tag == GAUNTLET_DROP_TAG) return &dropped;
  series->verdict->tag = GAUNTLET_EDIT_TAG;
  return &series->verdict->as.edit;
}

void gauntlet_stream(gauntlet_series *series, const char *name) {
  gauntlet_edit_abi *edit = gauntlet_edit(series);
  edit->has_stream = 1;
  edit->stream = gauntlet_of(name);
}

void gauntlet_budget(gauntlet_series *series, const char *name, uint64_t max_active_series) {
  gauntlet_edit_abi *edit = gauntlet_edit(series);
  edit->has_budget = 1;
  edit->budget.name = gauntlet_of(name);
  edit->budget.max_active_series = max_active_series;
}

static void *gauntlet_answered(void) {
  gauntlet_judged = NULL;
  return &gauntlet_answer;
}

/* Decisions. */

void gauntlet_charge(gauntlet_decision *decision, const char *bucket, uint64_t tokens, double per_second, uint64_t burst) {
  if (decision->is_rejected) return;
  size_t n = decision->as.admit.charge_count++;
  gauntlet_charge_abi *charges = (gauntlet_charge_abi *)gauntlet_alloc((n + 1) * sizeof *charges);
  if (n) memcpy(charges, decision->as.admit.charges, n * sizeof *charges);
  gauntlet_charge_abi charge = {gauntlet_of(bucket), tokens, per_second, burst};
  charges[n] = charge;
  decision->as.admit.charges = charges;
}

void gauntlet_route(gauntlet_decision *decision, const char *stream, gauntlet_text upstream) {
  if (decision->is_rejected) return;
  size_t n = decision->as.admit.route_count++;
  gauntlet_route_abi *routes = (gauntlet_route_abi *)gauntlet_alloc((n + 1) * sizeof *routes);
  if (n) memcpy(routes, decision->as.admit.routes, n * sizeof *routes);
  gauntlet_route_abi route = {gauntlet_of(stream), upstream};
  routes[n] = route;
  decision->as.admit.routes = routes;
}

void gauntlet_reject(gauntlet_decision *decision, gauntlet_text text) {
  decision->is_rejected = 1;
  decision->as.reject = text;
}

/* Settings: a reader of flat JSON. `at` is null once the text is found not to be JSON. */

typedef struct {
  const char *at, *end;
} gauntlet_json;

static void gauntlet_json_blanks(gauntlet_json *json) {
  while (json->at && json->at < json->end && strchr(" \t\r\n", *json->at)) json->at++;
}

static bool gauntlet_json_takes(gauntlet_json *json, char c) {
  gauntlet_json_blanks(json);
  bool takes = json->at && json->at < json->end && *json->at == c;
  if (takes) json->at++;
  return takes;
}

static uint32_t gauntlet_json_hex(gauntlet_json *json) {
  uint32_t code = 0;
  for (int i = 0; i < 4; i++, json->at++) {
    char c = json->at < json->end ? *json->at : 0;
    int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
    if (digit < 0) return 0xfffd;
    code = code << 4 | (uint32_t)digit;
  }
  return code;
}

static char *gauntlet_json_put(char *out, uint32_t code) {
  if (code < 0x80) return *out = (char)code, out + 1;
  int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  *out++ = (char)((0xf00 >> (more + 1) & 0xff) | code >> 6 * more);
  while (more--) *out++ = (char)(0x80 | (code >> 6 * more & 0x3f));
  return out;
}

/* Behind its opening quote. */
static gauntlet_text gauntlet_json_string(gauntlet_json *json) {
  char *text = (char *)gauntlet_alloc((size_t)(json->end - json->at) + 1), *out = text;
  while (json->at < json->end && *json->at != '"') {
    char c = *json->at++;
    if (c != '\\') {
      *out++ = c;
      continue;
    }
    c = json->at < json->end ? *json->at++ : 0;
    const char *plain = "\"\"\\\\//b\bf\fn\nr\rt\t", *found = c ? strchr(plain, c) : NULL;
    if (c == 'u') {
      uint32_t code = gauntlet_json_hex(json);
      if (code >> 10 == 0x36 && json->end - json->at > 6 && json->at[0] == '\\' && json->at[1] == 'u') {
        json->at += 2;
        code = 0x10000 + ((code & 0x3ff) << 10) + (gauntlet_json_hex(json) & 0x3ff);
      }
      out = gauntlet_json_put(out, code >> 11 == 0x1b ? 0xfffd : code);
    } else if (found && strchr("\"\\/bfnrt", c)) {
      *out++ = strchr("\"\\/", c) ? c : found[1];
    } else {
      break;
    }
  }
  json->at = json->at < json->end && *json->at == '"' ? json->at + 1 : NULL;
  gauntlet_text read = {text, (size_t)(out - text)};
  return read;
}

static gauntlet_text gauntlet_about(const char *before, gauntlet_text key, const char *after) {
  gauntlet_text parts[3] = {gauntlet_of(before), key, gauntlet_of(after)};
  return gauntlet_join(parts, 3);
}

static gauntlet_text gauntlet_json_value(gauntlet_json *json, gauntlet_setting *setting) {
  bool is_string = gauntlet_json_takes(json, '"');
  gauntlet_text wrong = {"", 0};
  setting->given = true;
  if (is_string != (setting->kind == GAUNTLET_STRING)) {
    return gauntlet_about("", gauntlet_of(setting->key), is_string ? " must be a number" : " must be a string");
  }
  if (is_string) {
    setting->text = gauntlet_keep(gauntlet_json_string(json));
    return wrong;
  }
  gauntlet_text rest = {json->at, (size_t)(json->end - json->at)};
  char *number = (char *)gauntlet_alloc(rest.len + 1), *end;
  memcpy(number, rest.ptr, rest.len);
  number[rest.len] = 0;
  setting->number = strtod(number, &end);
  if (end == number) return gauntlet_about("", gauntlet_of(setting->key), " must be a number");
  json->at += end - number;
  return wrong;
}

gauntlet_text gauntlet_read_settings(gauntlet_text text, gauntlet_setting *known, size_t count) {
  gauntlet_json json = {text.ptr, text.ptr + text.len};
  gauntlet_text wrong = {"", 0};
  bool more = gauntlet_json_takes(&json, '{') && !gauntlet_json_takes(&json, '}');
  if (!more && json.at == text.ptr) return gauntlet_of("settings must be a mapping");
  while (more) {
    if (!gauntlet_json_takes(&json, '"')) return gauntlet_of("settings are not JSON: expected a key");
    gauntlet_text key = gauntlet_json_string(&json);
    if (!gauntlet_json_takes(&json, ':')) return gauntlet_of("settings are not JSON: expected a value");
    size_t i = 0;
    while (i < count && !gauntlet_is(key, known[i].key)) i++;
    if (i == count) return gauntlet_about("unknown key `", key, "`");
    wrong = gauntlet_json_value(&json, &known[i]);
    if (wrong.len) return wrong;
    more = gauntlet_json_takes(&json, ',');
    if (!more && !gauntlet_json_takes(&json, '}')) return gauntlet_of("settings are not JSON: expected `,` or `}`");
  }
  gauntlet_json_blanks(&json);
  return json.at == json.end ? wrong : gauntlet_of("settings are not JSON: expected nothing more");
}

/* Exports. */

GAUNTLET_EXPORT("configure")
void *gauntlet_configure(const char *settings, size_t settings_len, const char *tenant, size_t tenant_len,
                         const gauntlet_text *upstreams, size_t upstream_count) {
  gauntlet_text text = {settings, settings_len};
  gauntlet_context context = {{tenant, tenant_len}, upstreams, upstream_count};
  gauntlet_answer.as.error = policy_configure(text, &context);
  gauntlet_answer.is_error = gauntlet_answer.as.error.len != 0;
  return gauntlet_answered();
}

GAUNTLET_EXPORT("cabi_post_configure") void gauntlet_post_configure(void *answer) {
  (void)answer;
  gauntlet_free_call();
}

#ifdef GAUNTLET_RELABEL
static gauntlet_verdict_abi *gauntlet_verdicts(size_t count) {
  size_t size = count * sizeof(gauntlet_verdict_abi);
  gauntlet_verdict_abi *verdicts = (gauntlet_verdict_abi *)memset(gauntlet_alloc(size), 0, size);
  gauntlet_answer.is_error = 0;
  gauntlet_answer.as.verdicts.ptr = verdicts;
  gauntlet_answer.as.verdicts.len = count;
  return verdicts;
}

static void gauntlet_judge(gauntlet_series *series) {
  gauntlet_judged = series;
  policy_relabel(series);
  if (!series->changed || series->verdict->tag == GAUNTLET_DROP_TAG) return;
  gauntlet_edit_abi *edit = gauntlet_edit(series);
  edit->has_labels = 1;
  edit->labels = series->labels;
  edit->label_count = series->count;
}

typedef struct {
  gauntlet_label *ptr;
  size_t len;
} gauntlet_labels_abi;

GAUNTLET_EXPORT("relabel") void *gauntlet_relabel(const gauntlet_labels_abi *all, size_t count) {
  gauntlet_verdict_abi *verdicts = gauntlet_verdicts(count);
  for (size_t i = 0; i < count; i++) {
    gauntlet_series series = {all[i].ptr, all[i].len, all[i].len, false, &verdicts[i]};
    gauntlet_judge(&series);
  }
  return gauntlet_answered();
}

GAUNTLET_EXPORT("cabi_post_relabel") void gauntlet_post_relabel(void *answer) {
  (void)answer;
  gauntlet_free_call();
}

/* Names and values are borrowed from `text`; nothing is copied. A series that was not changed lends its labels' room to the
 * next one. */
GAUNTLET_EXPORT("relabel-packed")
void *gauntlet_relabel_packed(const char *text, size_t text_len, const uint32_t *lengths, size_t length_count,
                              const uint32_t *counts, size_t count) {
  (void)text_len, (void)length_count;
  gauntlet_verdict_abi *verdicts = gauntlet_verdicts(count);
  gauntlet_series series = {NULL, 0, 0, true, NULL};
  for (size_t i = 0; i < count; i++) {
    if (series.changed || series.room < counts[i]) {
      series.room = counts[i] + 4;
      series.labels = (gauntlet_label *)gauntlet_alloc(series.room * sizeof *series.labels);
    }
    for (size_t j = 0; j < counts[i]; j++, lengths += 2) {
      gauntlet_label label = {{text, lengths[0]}, {text + lengths[0], lengths[1]}};
      series.labels[j] = label;
      text += lengths[0] + lengths[1];
    }
    series.count = counts[i];
    series.changed = false;
    series.verdict = &verdicts[i];
    gauntlet_judge(&series);
  }
  return gauntlet_answered();
}

GAUNTLET_EXPORT("cabi_post_relabel-packed") void gauntlet_post_relabel_packed(void *answer) {
  (void)answer;
  gauntlet_free_call();
}
#endif

#ifdef GAUNTLET_ADMIT
GAUNTLET_EXPORT("admission-inputs") int gauntlet_admission_inputs(void) { return policy_inputs(); }

GAUNTLET_EXPORT("admit")
void *gauntlet_admit(const char *tenant, size_t tenant_len, const char *subject, size_t subject_len, const char *protocol,
                     size_t protocol_len, uint64_t compressed_bytes, uint64_t decoded_bytes, uint64_t active_series,
                     uint64_t new_series, const gauntlet_stream_totals *streams, size_t stream_count) {
  gauntlet_write write = {{tenant, tenant_len}, {subject, subject_len}, {protocol, protocol_len}, compressed_bytes,
                          decoded_bytes,        active_series,          new_series,               streams,
                          stream_count};
  memset(&gauntlet_answer, 0, sizeof gauntlet_answer);
  policy_admit(&write, &gauntlet_answer.as.decision);
  return gauntlet_answered();
}

GAUNTLET_EXPORT("cabi_post_admit") void gauntlet_post_admit(void *answer) {
  (void)answer;
  gauntlet_free_call();
}
#endif

#ifdef __cplusplus
}
#endif
#endif
#endif
