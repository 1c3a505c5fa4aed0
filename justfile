# One recipe for each thing a person does. `just` alone does all that CI does.

# all that CI does
ci:
    .ci/run

# the recipes there are
list:
    @just --list --unsorted

# see an episode travel, on this machine and without set-up
demo *args:
    cargo run --release -- demo {{args}}

# the tests, or those whose name has FILTER in it
test *filter:
    cargo test {{filter}}

# the long runs with their figures, or those whose name has NAME in it: see tests/campaign/main.rs
campaign *name:
    cargo test --test campaign -- {{name}}

# this program beside what a user would pick instead, or only the workloads with NAME in theirs
bench *names:
    tests/bench/peers.sh target/bench/peers
    cargo bench --bench bench -- {{names}}

# look for inputs that break a promise, SECONDS each target; tests/fuzz/run says what it needs
fuzz target='all' seconds='60':
    tests/fuzz/run {{target}} {{seconds}}

# format, and look for what a reviewer would find
lint:
    cargo fmt
    cargo clippy --all-targets -- -D warnings

# the program as it is shipped, for this machine
build:
    cargo build --release
