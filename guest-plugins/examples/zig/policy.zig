//! House rules: what every example of a policy does, in each language.
//!
//! Drops the Go runtime's metrics, keeps `up` as it is, sends kube_* its own way, bounds debug_*, and gives all others the
//! cluster's name in place of their `replica`. Charges samples, and refuses a write with more than 5000.

const std = @import("std");
const gauntlet = @import("gauntlet.zig");

const MyPolicy = struct {
    settings: struct {
        cluster: []const u8 = "",
        kube_upstream: []const u8 = "",
        samples_per_second: f64 = 1e6,
    },

    /// Gives what is wrong, if anything is.
    pub fn configure(rules: *MyPolicy, text: []const u8, context: gauntlet.Context) ?[]const u8 {
        rules.settings = .{};
        if (gauntlet.readSettings(text, &rules.settings)) |wrong| return wrong;
        const upstream = rules.settings.kube_upstream;
        if (rules.settings.cluster.len == 0) return "cluster is missing";
        if (upstream.len > 0 and !context.hasUpstream(upstream)) {
            return gauntlet.print("kube_upstream: {s} has no upstream `{s}`", .{ context.tenant, upstream });
        }
        gauntlet.log(.info, gauntlet.print("house rules for cluster {s}", .{rules.settings.cluster}));
        return null;
    }

    pub fn relabel(rules: *const MyPolicy, series: *gauntlet.Series) void {
        const name = series.value("__name__");
        if (std.mem.startsWith(u8, name, "go_")) {
            series.drop = "go_metrics";
        } else if (std.mem.startsWith(u8, name, "kube_")) {
            series.stream = "kube";
        } else if (std.mem.startsWith(u8, name, "debug_")) {
            series.budget = .{ .name = "debug", .max_active_series = 1000 };
        } else if (!std.mem.eql(u8, name, "up")) {
            series.remove("replica");
            series.set("cluster", rules.settings.cluster);
        }
    }

    pub fn inputs(_: *const MyPolicy) gauntlet.Inputs {
        return .{ .totals = true };
    }

    pub fn admit(rules: *const MyPolicy, write: gauntlet.Write) gauntlet.Decision {
        var decision: gauntlet.Decision = .{};
        var samples: u64 = 0;
        for (write.streams) |stream| {
            samples +|= stream.samples +| stream.histograms;
            const is_routed = std.mem.eql(u8, stream.name.slice(), "kube") and rules.settings.kube_upstream.len > 0;
            if (is_routed) decision.route("kube", rules.settings.kube_upstream);
        }
        if (samples > 5000) return .{ .reject = "more than 5000 samples in one write" };
        const rate = rules.settings.samples_per_second;
        decision.charge("samples", samples, rate, @intFromFloat(rate * 5));
        return decision;
    }
};

pub const panic = gauntlet.panic;

comptime {
    gauntlet.exportPolicy(MyPolicy);
}
