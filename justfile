# One recipe for each thing that a person does. `just` alone does everything that CI does.

# everything that CI does
ci:
    .ci/run

# list the recipes
list:
    @just --list --unsorted

# show how an episode travels, on this machine and without set-up
demo *args:
    cargo run --release -- demo {{args}}

# the tests, or those whose name has FILTER in it
test *filter:
    cargo test {{filter}}

# `forgejo` is skipped unless CIS490_FORGEJO_URL and CIS490_FORGEJO_TOKEN name a real one; `archive` says how the
# real stores are had that it runs against.
# the long runs with their figures, or those whose name has NAME in it: see tests/campaign/main.rs
campaign *name:
    cargo test --test campaign -- {{name}}

# compare this program with those that a user would choose instead; names choose among the workloads
bench *names:
    tests/bench/peers.sh target/bench/peers
    cargo bench --bench bench -- {{names}}

# count with qemu-aarch64 the instructions that the Pi's program executes for an upload and for packing
instructions: cross-build
    tests/bench/instructions "dist/cis490-$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)-aarch64-unknown-linux-musl"

# look for inputs that break a promise, SECONDS each target; tests/fuzz/run says what it needs
fuzz target='all' seconds='60':
    tests/fuzz/run {{target}} {{seconds}}

# format, and run clippy
lint:
    cargo fmt
    cargo clippy --all-targets -- -D warnings

# the program as it is shipped, for this machine
build:
    cargo build --release

# install or upgrade over ssh: just deploy pi@10.8.0.1 receiver, or shipper --receiver-url ...
deploy host side="receiver" *args:
    #!/usr/bin/env bash
    set -euo pipefail
    machine=$(ssh {{host}} uname -m)
    case $machine in
        aarch64 | x86_64) target=$machine-unknown-linux-musl ;;
        *) echo "no cis490 for a $machine: it must be aarch64 or x86_64" >&2; exit 1 ;;
    esac
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
    {{just_executable()}} cross-build "$target"
    there=$(ssh {{host}} mktemp -d)
    scp -q "dist/cis490-$version-$target" {{host}}:"$there/cis490"
    ssh -t {{host}} "sudo $there/cis490 install {{side}} {{args}}; status=\$?; rm -r $there; exit \$status"

# the program as it is shipped, into dist/: for the Pi, or for TARGETS (x86_64-unknown-linux-musl)
cross-build *targets:
    cross/build {{targets}}

# Debian packages of the shipped programs, into dist/: for arm64 and amd64, or for ARCHITECTURES
deb *architectures:
    cross/deb {{architectures}}

# what the shipped program is made of, in CycloneDX: for the Pi, or for TARGET
sbom *target:
    cross/sbom {{target}}

# build, inspect and measure both shipped programs; `suites` runs the tests on them, `plain` builds without TLS
cross-check *what:
    .ci/cross {{what}}
