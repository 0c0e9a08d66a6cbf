//! What a Gauntlet policy in Zig is written with, for contract gauntlet:policy@1.0.0.
//!
//! The main file has `comptime { gauntlet.exportPolicy(Policy); }` and `pub const panic = gauntlet.panic;`. `Policy` is a
//! struct with `configure`, and with `relabel`, `admit` and `inputs`, or both. Text that a call is given, and all that is
//! made with `call`, is gone after it; what is to live longer is made with `keep`. Never keep anything else between calls:
//! the gateway remembers verdicts, so a policy must depend on its settings, its context and the series alone.

const std = @import("std");

/// Memory until the call is over.
pub const call = call_arena.allocator();
/// Memory for as long as the policy lives.
pub const keep = std.heap.wasm_allocator;

var call_arena = std.heap.ArenaAllocator.init(std.heap.wasm_allocator);

/// Where a policy is in force. The first upstream takes what is not routed.
pub const Context = struct {
    tenant: []const u8,
    upstreams: []const Text,

    pub fn hasUpstream(context: Context, name: []const u8) bool {
        for (context.upstreams) |upstream| {
            if (std.mem.eql(u8, upstream.slice(), name)) return true;
        }
        return false;
    }
};

pub const Budget = struct { name: []const u8, max_active_series: u64 };

/// The labels of one series, and what becomes of it. One that is left alone is kept.
pub const Series = struct {
    labels: std.ArrayList(Label),
    /// Why it is dropped; counted and shown, so one of a few short words.
    drop: ?[]const u8 = null,
    /// The stream in which it travels from here on; a decision may route it.
    stream: ?[]const u8 = null,
    /// New series are refused where the budget has as many active ones already.
    budget: ?Budget = null,
    changed: bool = false,

    /// Empty where there is no such label.
    pub fn value(series: *const Series, name: []const u8) []const u8 {
        const at = series.find(name) orelse return "";
        return series.labels.items[at].value.slice();
    }

    /// Adds the label or changes its value. An empty value removes it.
    pub fn set(series: *Series, name: []const u8, new: []const u8) void {
        if (new.len == 0) return series.remove(name);
        if (series.find(name)) |at| {
            const label = &series.labels.items[at];
            if (std.mem.eql(u8, label.value.slice(), new)) return;
            label.value = .of(new);
        } else {
            series.labels.append(call, .{ .name = .of(name), .value = .of(new) }) catch @panic("out of memory");
        }
        series.changed = true;
    }

    pub fn remove(series: *Series, name: []const u8) void {
        const at = series.find(name) orelse return;
        _ = series.labels.orderedRemove(at);
        series.changed = true;
    }

    fn find(series: *const Series, name: []const u8) ?usize {
        for (series.labels.items, 0..) |label, at| {
            if (std.mem.eql(u8, label.name.slice(), name)) return at;
        }
        return null;
    }
};

/// One write, after every series was judged. Of what `inputs` does not name the numbers are zero.
pub const Write = struct {
    tenant: []const u8,
    subject: []const u8,
    protocol: []const u8,
    compressed_bytes: u64,
    decoded_bytes: u64,
    active_series: u64,
    new_series: u64,
    streams: []const StreamTotals,
};

/// What a stream carries; the default stream has no name.
pub const StreamTotals = extern struct { name: Text, series: u64, samples: u64, histograms: u64, exemplars: u64 };

/// What decisions depend on, besides tenant, subject, protocol and the streams' names.
pub const Inputs = packed struct(u5) {
    compressed_bytes: bool = false,
    decoded_bytes: bool = false,
    active_series: bool = false,
    new_series: bool = false,
    totals: bool = false,
};

/// About a write. An empty one admits it.
pub const Decision = struct {
    charges: std.ArrayList(Charge) = .empty,
    routes: std.ArrayList(Route) = .empty,
    /// Refuses the write for good (400); the text is shown to the sender.
    reject: ?[]const u8 = null,

    /// Tokens to take from a bucket that the gateway keeps.
    pub fn charge(decision: *Decision, bucket: []const u8, tokens: u64, per_second: f64, burst: u64) void {
        const one: Charge = .{ .bucket = .of(bucket), .tokens = tokens, .per_second = per_second, .burst = burst };
        decision.charges.append(call, one) catch @panic("out of memory");
    }

    pub fn route(decision: *Decision, stream: []const u8, upstream: []const u8) void {
        const one: Route = .{ .stream = .of(stream), .upstream = .of(upstream) };
        decision.routes.append(call, one) catch @panic("out of memory");
    }
};

/// Text of the arguments, until the call is over.
pub fn print(comptime format: []const u8, arguments: anytype) []const u8 {
    return std.fmt.allocPrint(call, format, arguments) catch @panic("out of memory");
}

/// Reads settings, a JSON text, into a struct whose missing keys keep their values. Gives what is wrong, if anything is.
pub fn readSettings(text: []const u8, into: anytype) ?[]const u8 {
    const T = @TypeOf(into.*);
    const read = std.json.parseFromSliceLeaky(std.json.Value, keep, text, .{}) catch |e| {
        return print("settings are not JSON: {s}", .{@errorName(e)});
    };
    if (read != .object) return "settings must be a mapping";
    var entries = read.object.iterator();
    next: while (entries.next()) |entry| {
        inline for (comptime std.meta.fieldNames(T)) |name| {
            if (std.mem.eql(u8, entry.key_ptr.*, name)) {
                const value = std.json.parseFromValueLeaky(@FieldType(T, name), keep, entry.value_ptr.*, .{});
                @field(into, name) = value catch |e| return print("{s} cannot be used: {s}", .{ name, @errorName(e) });
                continue :next;
            }
        }
        return print("unknown key `{s}`", .{entry.key_ptr.*});
    }
    return null;
}

pub const Level = enum(i32) { debug, info, warn, err };

/// Bounded lines in the gateway's log.
pub fn log(level: Level, message: []const u8) void {
    host.write(@intFromEnum(level), message.ptr, message.len);
}

/// What panics goes to the log with the series that was judged, and ends the call: the gateway refuses the series or keeps the
/// write, as the operator has it.
pub const panic = std.debug.FullPanic(struct {
    fn panicked(message: []const u8, _: ?usize) noreturn {
        var room: [4096]u8 = undefined;
        var len: usize = 0;
        add(&room, &len, message);
        if (judged) |series| {
            add(&room, &len, ", judging {");
            for (series.labels.items) |label| {
                for ([_][]const u8{ label.name.slice(), "=\"", label.value.slice(), "\" " }) |part| add(&room, &len, part);
            }
            add(&room, &len, "}");
        }
        log(.err, room[0..len]);
        @trap();
    }

    fn add(room: []u8, len: *usize, part: []const u8) void {
        const fits = @min(part.len, room.len - len.*);
        @memcpy(room[len.*..][0..fits], part[0..fits]);
        len.* += fits;
    }
}.panicked);

// --- The rest is how it works: the component model's canonical ABI, by hand. Extern structs lie in memory as the contract's
// types do.

const host = struct {
    extern "gauntlet:policy/log@1.0.0" fn write(level: i32, text: [*]const u8, len: usize) void;
};

/// Text as the contract has it.
pub const Text = extern struct {
    ptr: [*]const u8,
    len: usize,

    pub fn slice(text: Text) []const u8 {
        return text.ptr[0..text.len];
    }

    pub fn of(text: []const u8) Text {
        return .{ .ptr = text.ptr, .len = text.len };
    }
};

pub const Label = extern struct { name: Text, value: Text };
pub const Charge = extern struct { bucket: Text, tokens: u64, per_second: f64, burst: u64 };
pub const Route = extern struct { stream: Text, upstream: Text };

fn List(comptime T: type) type {
    return extern struct {
        ptr: [*]T,
        len: usize,

        fn of(items: []T) @This() {
            return .{ .ptr = if (items.len == 0) @ptrFromInt(@alignOf(T)) else items.ptr, .len = items.len };
        }
    };
}

fn Option(comptime T: type) type {
    return extern struct { is_some: bool = false, value: T = undefined };
}

const Edit = extern struct {
    labels: Option(List(Label)) = .{},
    stream: Option(Text) = .{},
    budget: Option(extern struct { name: Text, max_active_series: u64 }) = .{},
};
const Verdict = extern struct {
    tag: enum(u8) { keep, drop, edit },
    as: extern union { none: void, drop: Text, edit: Edit } = undefined,
};
const Answer = extern struct {
    is_error: bool = false,
    as: extern union {
        failure: Text,
        verdicts: List(Verdict),
        decision: extern struct {
            is_rejected: bool = false,
            as: extern union {
                admit: extern struct { charges: List(Charge), routes: List(Route) },
                reject: Text,
            },
        },
    } = undefined,
};

comptime {
    std.debug.assert(@sizeOf(Verdict) == 56 and @sizeOf(Answer) == 24);
}

var answer: Answer = .{};
var judged: ?*const Series = null;

fn answered(what: Answer) *Answer {
    judged = null;
    answer = what;
    return &answer;
}

fn freeCall(_: *Answer) callconv(.c) void {
    _ = call_arena.reset(.retain_capacity);
}

fn realloc(old: ?[*]u8, old_size: usize, _: usize, size: usize) callconv(.c) [*]u8 {
    // Of nothing, Zig gives an address that is nowhere.
    const new = call.alignedAlloc(u8, .@"8", @max(size, 1)) catch @panic("out of memory");
    if (old) |from| @memcpy(new[0..@min(old_size, size)], from[0..@min(old_size, size)]);
    return new.ptr;
}

/// Exports what the struct has as a component of the contract.
pub fn exportPolicy(comptime Policy: type) void {
    const exported = struct {
        var policy: Policy = undefined;

        fn configure(text: [*]const u8, text_len: usize, tenant: [*]const u8, tenant_len: usize, upstreams: [*]const Text, count: usize) callconv(.c) *Answer {
            const context: Context = .{ .tenant = tenant[0..tenant_len], .upstreams = upstreams[0..count] };
            const wrong = policy.configure(text[0..text_len], context) orelse return answered(.{});
            return answered(.{ .is_error = true, .as = .{ .failure = .of(wrong) } });
        }

        fn judge(series: *Series) Verdict {
            judged = series;
            policy.relabel(series);
            if (series.drop) |reason| return .{ .tag = .drop, .as = .{ .drop = .of(reason) } };
            if (!series.changed and series.stream == null and series.budget == null) return .{ .tag = .keep };
            var edit: Edit = .{};
            if (series.changed) edit.labels = .{ .is_some = true, .value = .of(series.labels.items) };
            if (series.stream) |name| edit.stream = .{ .is_some = true, .value = .of(name) };
            if (series.budget) |b| {
                edit.budget = .{ .is_some = true, .value = .{ .name = .of(b.name), .max_active_series = b.max_active_series } };
            }
            return .{ .tag = .edit, .as = .{ .edit = edit } };
        }

        fn verdicts(count: usize) []Verdict {
            return call.alloc(Verdict, count) catch @panic("out of memory");
        }

        fn relabel(all: [*]const List(Label), count: usize) callconv(.c) *Answer {
            const out = verdicts(count);
            for (all[0..count], out) |labels, *verdict| {
                var series: Series = .{ .labels = .fromOwnedSlice(labels.ptr[0..labels.len]) };
                verdict.* = judge(&series);
            }
            return answered(.{ .as = .{ .verdicts = .of(out) } });
        }

        /// Names and values are borrowed from `text`. A series that was not changed lends its labels' room to the next.
        fn relabelPacked(text: [*]const u8, _: usize, lengths: [*]const u32, _: usize, counts: [*]const u32, count: usize) callconv(.c) *Answer {
            const out = verdicts(count);
            var labels: std.ArrayList(Label) = .empty;
            var at = text;
            var length = lengths;
            for (counts[0..count], out) |label_count, *verdict| {
                labels.clearRetainingCapacity();
                labels.ensureTotalCapacity(call, label_count + 4) catch @panic("out of memory");
                for (0..label_count) |_| {
                    const value = at + length[0];
                    labels.appendAssumeCapacity(.{ .name = .of(at[0..length[0]]), .value = .of(value[0..length[1]]) });
                    at = value + length[1];
                    length += 2;
                }
                var series: Series = .{ .labels = labels };
                verdict.* = judge(&series);
                labels = if (series.changed) .empty else series.labels;
            }
            return answered(.{ .as = .{ .verdicts = .of(out) } });
        }

        fn inputs() callconv(.c) u32 {
            return @as(u5, @bitCast(policy.inputs()));
        }

        fn admit(tenant: [*]const u8, tenant_len: usize, subject: [*]const u8, subject_len: usize, protocol: [*]const u8, protocol_len: usize, compressed: u64, decoded: u64, active: u64, new: u64, streams: [*]const StreamTotals, count: usize) callconv(.c) *Answer {
            const decision = policy.admit(.{
                .tenant = tenant[0..tenant_len],
                .subject = subject[0..subject_len],
                .protocol = protocol[0..protocol_len],
                .compressed_bytes = compressed,
                .decoded_bytes = decoded,
                .active_series = active,
                .new_series = new,
                .streams = streams[0..count],
            });
            if (decision.reject) |text| {
                return answered(.{ .as = .{ .decision = .{ .is_rejected = true, .as = .{ .reject = .of(text) } } } });
            }
            const charges: List(Charge) = .of(decision.charges.items);
            const routes: List(Route) = .of(decision.routes.items);
            return answered(.{ .as = .{ .decision = .{ .as = .{ .admit = .{ .charges = charges, .routes = routes } } } } });
        }
    };
    @export(&realloc, .{ .name = "cabi_realloc" });
    @export(&exported.configure, .{ .name = "configure" });
    @export(&freeCall, .{ .name = "cabi_post_configure" });
    if (@hasDecl(Policy, "relabel")) {
        @export(&exported.relabel, .{ .name = "relabel" });
        @export(&freeCall, .{ .name = "cabi_post_relabel" });
        @export(&exported.relabelPacked, .{ .name = "relabel-packed" });
        @export(&freeCall, .{ .name = "cabi_post_relabel-packed" });
    }
    if (@hasDecl(Policy, "admit")) {
        @export(&exported.admit, .{ .name = "admit" });
        @export(&freeCall, .{ .name = "cabi_post_admit" });
        @export(&exported.inputs, .{ .name = "admission-inputs" });
    }
}
