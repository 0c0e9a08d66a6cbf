# The commands of the project. Caches live outside the checkout.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/gauntlet
export CARGO_TARGET_DIR ?= $(CACHE)/target

.PHONY: checkout book demo test unit lint doc plugins plugins-all plugins-common stack stack-up observe traces instructions attack attack-quick senders senders-quick console console-shots console-trial canary fuzz bench build

demo unit lint doc plugins plugins-all plugins-common stack stack-up observe traces instructions attack attack-quick senders senders-quick console console-shots console-trial canary fuzz bench build: checkout

# Checkouts share the cache, and cargo tells sources by their times alone: it would take what was built from another
# checkout, with that one's paths and text in it, for this one's. So a checkout that takes over makes its sources new.
checkout:
	@mkdir -p $(CARGO_TARGET_DIR)
	@test "$$(cat $(CARGO_TARGET_DIR)/checkout 2>&1)" = "$(CURDIR)" || \
		{ git ls-files -z | xargs -0 -r touch -c && echo "$(CURDIR)" > $(CARGO_TARGET_DIR)/checkout; }

## See writes flow through policies to a receiver, in one process, until ^C.
demo:
	cargo run --locked -p gauntlet -- dev

## Every test: units, end to end, and the real stack (Prometheus, Thanos, Alertmanager).
test: unit stack

## Everything but the real stack; needs nothing but Rust.
unit:
	cargo build --locked --workspace --all-targets
	cargo test --locked --workspace
	cd guest-plugins && CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/guest-tests cargo test --locked --workspace

## Formatting, lints, documentation, dependencies, and that the fuzz targets build.
lint:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked -p gauntlet --no-default-features -- -D warnings
	$(MAKE) --no-print-directory doc
	scripts/check-dependencies
	# A library that is not linked here: with it, checking needs no C++ compiler.
	CUSTOM_LIBFUZZER_PATH=/dev/null cargo check --locked --manifest-path host/fuzz/Cargo.toml
	cargo fmt --manifest-path host/fuzz/Cargo.toml --check

## The documentation of the code, private items included; a link that leads nowhere is an error.
doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --workspace --document-private-items

## Rebuild the wasm plugins and compare them with the committed ones.
plugins:
	scripts/provision plugins
	guest-plugins/build --check

## The example policy in nine languages: built as an author does, and tested in the gateway's sandbox.
plugins-all:
	scripts/provision languages
	guest-plugins/languages

## The same in the languages that most authors come with.
plugins-common:
	scripts/provision languages
	guest-plugins/languages rust c go javascript python

## The reference deployment, for real, with its checks.
stack:
	scripts/provision stack
	cargo build --locked --workspace --all-targets
	$(CARGO_TARGET_DIR)/debug/real-stack check
	$(CARGO_TARGET_DIR)/debug/real-stack observe

## The same, left running to look at, until ^C.
stack-up:
	scripts/provision stack
	cargo build --locked --workspace --all-targets
	$(CARGO_TARGET_DIR)/debug/real-stack up

## The alert rules with their cases, and every query of the dashboard, by a real Prometheus that scrapes a gateway with traffic.
observe:
	scripts/provision observe
	cargo build --locked --workspace
	$(CARGO_TARGET_DIR)/debug/real-stack observe

## Spans of a gateway in a real OpenTelemetry collector, which is away for a while.
traces:
	scripts/provision traces
	cargo build --locked --workspace
	$(CARGO_TARGET_DIR)/debug/real-stack traces

## Instructions per write, counted by callgrind and compared with host/benches/instructions.baseline.
instructions:
	scripts/provision instructions
	cargo bench --locked -p gauntlet --bench instructions

## What strangers, tenants and policies can do to others, tried for some 21 minutes; writes docs/reliability.md.
attack:
	cargo build --release --locked --workspace
	$(CARGO_TARGET_DIR)/release/attack

## The same in a few minutes, as far as a busy machine can tell; writes nothing.
attack-quick:
	cargo build --locked --workspace
	$(CARGO_TARGET_DIR)/debug/attack --quick

## What becomes of every sample of real senders, through the gateway and past it, tried for some 40 minutes; writes
## docs/senders.md.
senders:
	scripts/provision senders
	cargo build --release --locked --workspace
	nice $(CARGO_TARGET_DIR)/release/senders

## The same with Debian's Prometheus alone, in three situations and three minutes; writes nothing.
senders-quick:
	scripts/provision senders-quick
	cargo build --locked --workspace
	$(CARGO_TARGET_DIR)/debug/senders --quick

## The console in a real Chromium: the numbers of every page against /metrics, the playground against the pipeline, hostile
## labels, contrast, keys, narrow screens and 500 tenants.
console:
	scripts/provision console
	cargo build --locked -p gauntlet --bin gauntlet
	node tests/console/check.mjs $(CARGO_TARGET_DIR)/debug/gauntlet $(CARGO_TARGET_DIR)/debug/deps/artefacts

## Its pictures, docs/console/*.png: look at them.
console-shots:
	scripts/provision console
	cargo build --locked -p gauntlet --bin gauntlet
	node tests/console/shots.mjs $(CARGO_TARGET_DIR)/debug/gauntlet $(CARGO_TARGET_DIR)/debug/deps/artefacts

## Fifty tenants, some with a fault, and what their people complain of: find out why by the console alone. Other ones by SEED.
SEED = 1
MINUTES = 20
console-trial:
	scripts/provision console
	cargo build --locked -p gauntlet --bin gauntlet
	node tests/console/trial.mjs $(CARGO_TARGET_DIR)/debug/gauntlet $(CARGO_TARGET_DIR)/debug/deps/artefacts $(SEED) $(MINUTES)

## The cross-tenant canary in its nightly form: one tenant's policy fills its memory, another's looks for it, 100,000 times.
canary:
	cargo build --locked -p gauntlet
	GAUNTLET_CANARY_ROUNDS=100000 cargo test --locked -p gauntlet --lib no_memory_passes_from_one_tenant_to_another

## Bytes that nobody thought of, for one target of host/fuzz (`make fuzz TARGET=head`), as long as SECONDS say. What was found
## to lead somewhere new is kept in the cache for the next time. Needs `cargo install cargo-fuzz --locked` and a C++ compiler.
TARGET = framing
SECONDS = 600
fuzz:
	mkdir -p $(CACHE)/fuzz/$(TARGET)
	cd host && nice cargo fuzz run --sanitizer none $(TARGET) $(CACHE)/fuzz/$(TARGET) \
		$(firstword $(wildcard $(CURDIR)/host/fuzz/seeds/$(TARGET) $(CURDIR)/host/fuzz/seeds/write)) \
		-- -max_total_time=$(SECONDS) -rss_limit_mb=3000

## What it costs beside nginx, Envoy, vmagent and Thanos, in one run of some 20 minutes; writes docs/bench.md.
bench:
	scripts/provision bench
	cargo build --release --locked --workspace
	$(CARGO_TARGET_DIR)/release/bench

## A book of docs/, to be read in a browser: the cache's book/docs/index.html. A warning is an error.
book:
	scripts/provision book
	rm -rf $(CACHE)/book
	mkdir -p $(CACHE)/book
	# Pages lead to these files as well, which lie beside docs/.
	cp -r deploy $(CACHE)/book/
	nice $(CACHE)/bin/mdbook-$$(sed -n 's/^mdbook_version=//p' scripts/provision) build -d $(CACHE)/book/docs docs 2>$(CACHE)/book/log || { cat $(CACHE)/book/log >&2; exit 1; }
	! grep -E 'WARN|ERROR' $(CACHE)/book/log

## The program as it is shipped.
build:
	cargo build --release --locked -p gauntlet
