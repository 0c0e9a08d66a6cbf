"""The component of a policy. Only there is `wit_world`, which componentize-py makes of the contract."""

import json
import traceback

import wit_world
from componentize_py_types import Err
from wit_world.imports import log as wit_log
from wit_world.imports import types as wit

import gauntlet


def _write(level, message):
    wit_log.write(wit_log.Level(level.value), message)


gauntlet._write = _write


def component(Policy):
    """The class that componentize-py looks for, by the name of `WitWorld`."""

    class World(wit_world.WitWorld):
        def configure(self, settings, context):
            global policy
            try:
                policy = Policy(json.loads(settings), gauntlet.Context(context.tenant, context.upstreams))
            except gauntlet.ConfigError as error:
                raise Err(str(error)) from None
            except Exception as error:
                raise _failure(error) from None

        def relabel(self, series):
            return [_judge([(label.name, label.value) for label in labels]) for labels in series]

        def relabel_packed(self, text, lengths, labels):
            pieces = iter(_pieces(text, lengths))
            return [_judge([(next(pieces), next(pieces)) for _ in range(count)]) for count in labels]

        def admit(self, write):
            if not hasattr(policy, "admit"):
                return wit.Decision_Admit(wit.Admission([], []))
            try:
                return _decision(policy.admit(_told(write)))
            except Exception as error:
                raise _failure(error) from None

        def admission_inputs(self):
            inputs = wit.Inputs(0)
            for name in getattr(policy, "inputs", ()):
                inputs |= wit.Inputs[name.upper()]
            return inputs

    return World


policy = None


def _failure(error, series=None):
    """The gateway is told what went wrong and on which series; the log, also where."""
    gauntlet.log(gauntlet.Level.ERROR, traceback.format_exc())
    judging = "" if series is None else f", judging {dict(series)}"
    return Err(f"{type(error).__name__}: {error}{judging}")


def _pieces(text, lengths):
    """Lengths are of bytes, which are characters if all of the text is ASCII."""
    ascii = text.isascii()
    whole, at = text if ascii else text.encode(), 0
    for length in lengths:
        piece = whole[at : at + length]
        at += length
        yield piece if ascii else piece.decode()


def _judge(labels):
    if not hasattr(policy, "relabel"):
        return wit.Verdict_Keep()
    series = gauntlet.Series(labels)
    try:
        policy.relabel(series)
    except Exception as error:
        raise _failure(error, series) from None
    if series.reason is not None:
        return wit.Verdict_Drop(series.reason)
    changed = series.changed
    if not changed and series.stream is None and series.budget is None:
        return wit.Verdict_Keep()
    labels = [wit.Label(name, value) for name, value in series.items()] if changed else None
    budget = series.budget and wit.Budget(series.budget.name, series.budget.max_active_series)
    return wit.Verdict_Edit(wit.Edit(labels, series.stream, budget))


def _told(write):
    def totals(stream):
        t = stream.totals
        return gauntlet.StreamTotals(stream.name, t.series, t.samples, t.histograms, t.exemplars)

    return gauntlet.Write(
        write.tenant,
        write.subject,
        write.protocol,
        write.compressed_bytes,
        write.decoded_bytes,
        write.active_series,
        write.new_series,
        [totals(stream) for stream in write.streams],
    )


def _decision(said):
    if isinstance(said, gauntlet.Reject):
        return wit.Decision_Reject(said.text)
    charges = [wit.Charge(c.bucket, c.tokens, float(c.per_second), c.burst) for c in said.charges]
    routes = [wit.Route(stream, upstream) for stream, upstream in said.routes.items()]
    return wit.Decision_Admit(wit.Admission(charges, routes))
