# The README's two commands are `make demo` and `make test`; the rest are parts of them, and longer runs.

# One folder of compiled code for every clone on this machine, so that a second clone does not compile the dependencies again. Clones that
# build at the same time wait for each other; give one a folder of its own with NODESPACE_TARGET_DIR or CARGO_TARGET_DIR.
NODESPACE_TARGET_DIR ?= $(HOME)/.cache/nodespace/target
CARGO_TARGET_DIR ?= $(NODESPACE_TARGET_DIR)
export CARGO_TARGET_DIR

# A cargo that was installed a minute ago is not in this shell's PATH yet.
CARGO_HOME ?= $(HOME)/.cargo
export PATH := $(PATH):$(CARGO_HOME)/bin

SEEDS ?= 0..1000
DEVICES ?= 3..20
FUZZ_SECONDS ?= 120
SCENARIOS ?= $(wildcard testnet/scenarios/*.toml)
REPORTS ?= $(CARGO_TARGET_DIR)/reports

TESTNET := cargo run -q -p nodespace-testnet --profile sim --

RELAY_DATA ?=

.PHONY: help demo device relay test setup fmt lint doc purity sim mutants cluster bench fuzz

help: ## Say what there is to run
	@sed -nE 's/^([a-z]+):.*## (.*)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '  make %-8s  %s\n' "$$name" "$$text"; done

demo: ## Show the main job: three real devices that fall apart and agree again
	@scripts/setup.sh build
	@echo "compiling the device; the first time this takes some ten minutes, most of it LanceDB"
	@cargo build --workspace --bins
	@scripts/demo.sh "$(CARGO_TARGET_DIR)/debug"

device: ## Compile the program nodespace, optimised where it counts
	@scripts/setup.sh build
	@cargo build -p nodespace-node --bin nodespace --profile device
	@echo "$(CARGO_TARGET_DIR)/device/nodespace"

relay: ## Run a relay with a PostgreSQL and a Redis of its own, kept in RELAY_DATA
	@scripts/setup.sh relay
	@echo "compiling the relay; the first time this takes some minutes"
	@cargo build -q -p nodespace-relay -p nodespace-servers --bins --profile relay
	@scripts/relay.sh "$(CARGO_TARGET_DIR)/relay" $(RELAY_DATA)

test: ## Check everything, as CI does
	@scripts/test.sh

setup: ## Install what building and testing need
	@scripts/setup.sh test

fmt: ## Lay out the code
	@cargo fmt --all

lint: ## Check layout and lints
	@scripts/test.sh format lint

doc: ## Build the API documentation
	@scripts/test.sh docs

purity: ## Check which crate knows which
	@scripts/test.sh purity

sim: ## Simulate SEEDS (0..1000) with DEVICES (3..20) each
	@$(TESTNET) sim --seeds $(SEEDS) --devices $(DEVICES)

mutants: ## Check that the simulator finds what is broken on purpose
	@$(TESTNET) mutants

cluster: ## Run real devices through SCENARIOS (all of testnet/scenarios), with reports in REPORTS
	@cargo build --workspace --bins
	@$(CARGO_TARGET_DIR)/debug/nodespace-testnet run $(SCENARIOS) --report "$(REPORTS)"

bench: ## Measure; docs/BENCHMARKS.md says what was seen
	@cargo bench -p nodespace-protocol

fuzz: ## Feed every decoder with damaged input for FUZZ_SECONDS (120)
	@cargo run -q --manifest-path protocol/fuzz/Cargo.toml --bin smoke -- --seconds $(FUZZ_SECONDS)
