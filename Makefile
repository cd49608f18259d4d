# Thin names for the commands that people and CI run; see .ci/run for the whole sequence.
.PHONY: build demo test lint bench ci prove soak

build:
	cargo build --release --locked

# The whole path on this machine: sender, sidecar, receiver.
demo:
	cargo run --release --locked -- demo

# cargo-nextest where it is installed: it runs test binaries in parallel.
test:
	if cargo nextest --version >/dev/null 2>&1; then cargo nextest run --locked; else cargo test --locked --lib --bins --tests; fi
	cargo test --doc --locked

lint:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --locked

bench:
	cargo bench --locked

# Everything that must hold before a merge.
ci:
	.ci/run

# Beyond CI: twenty times the cases of every property test, half an hour of load and faults, then the benches at full
# length. PROPTEST_CASES and SOAK_SECONDS override.
prove:
	PROPTEST_CASES=$${PROPTEST_CASES:-5120} $(MAKE) test
	$(MAKE) soak
	$(MAKE) bench

# Load without a pause while the next hop, the indicators and the configuration change; SOAK_SECONDS long.
soak:
	cargo test --locked --test sidecar -- --ignored --nocapture soak::
