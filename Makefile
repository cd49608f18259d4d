# Thin names for the commands that people and CI run; see .ci/run for the whole sequence.
.PHONY: build demo test lint bench fuzz ci prove cost soak fleet simulation

build:
	cargo build --release --locked

# The whole path on this machine: sender, sidecar, receiver.
demo:
	cargo run --profile demo --no-default-features --locked -- demo

# cargo-nextest where it is installed: it runs test binaries in parallel.
test:
	if cargo nextest --version >/dev/null 2>&1; then cargo nextest run --locked; else cargo test --locked --lib --bins --tests; fi
	cargo test --doc --locked

lint:
	cargo fmt --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --locked

bench:
	cargo bench --locked

# Every fuzz target on its corpus, for so many seconds each. Installs cargo-fuzz where it is missing.
fuzz:
	fuzz/run $${FUZZ_SECONDS:-5}

# Everything that must hold before a merge.
ci:
	.ci/run

# Beyond CI, in parts of at most an hour each: `make prove PART=fuzz`. Without PART it lists them. A part that was
# stopped continues where it was when it is run again; what is done is kept below target/prove/.
prove:
	.ci/prove $(PART)

# No case costs more than its bound: instructions under valgrind, and memory.
cost:
	cargo bench --locked --bench cost

# Load without a pause while the next hop, the indicators and the configuration change; SOAK_SECONDS long.
soak:
	cargo test --locked --test sidecar -- --ignored --nocapture soak::

# A control plane and its sidecars: so many publications under load, so many kills at random points. The build that is
# deployed, and one test at a time, since it says how long events take meanwhile.
fleet:
	FLEET_PUBLISHES=$${FLEET_PUBLISHES:-200} FLEET_KILLS=$${FLEET_KILLS:-100} cargo test --release --locked --test fleet -- --nocapture --test-threads 1

# Delivery over simulated time, disks and next hops, with new schedules for SIMULATION_SECONDS. A failing one prints how to
# repeat it.
simulation:
	SIMULATION_SECONDS=$${SIMULATION_SECONDS:-600} cargo test --release --locked --test simulation -- --nocapture
