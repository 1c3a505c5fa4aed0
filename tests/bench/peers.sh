#!/bin/sh
# Fetches what the benchmark compares with, for Debian and its kin, as root: nginx with DAV, rclone, rsync with
# an ssh server, and restic's rest-server. The last is in no Debian before 13: its package is taken
# from a newer suite, by apt with lists of its own, and unpacked into DIR without being installed.
# What cannot be had is named here and by the benchmark, which then runs without it.
# usage: peers.sh DIR
set -u
mkdir -p "$1" && dir=$(cd "$1" && pwd) || exit 1

missing() { echo "peers: $1 is missing: $2"; }

if ! command -v nginx >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get -qq update
        # In run level 1 the package does not start a server on port 80.
        RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
            apt-get -qq install -y --no-install-recommends nginx-extras >"$dir/nginx.log" 2>&1 ||
            missing nginx "see $dir/nginx.log"
    else
        missing nginx "install nginx-extras"
    fi
fi

if ! command -v rsync >/dev/null || ! [ -x /usr/sbin/sshd ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get -qq update
        # As above: no server on port 22.
        RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
            apt-get -qq install -y --no-install-recommends rsync openssh-server >"$dir/rsync.log" 2>&1 ||
            missing rsync "see $dir/rsync.log"
    else
        missing rsync "install rsync and openssh-server"
    fi
fi

if ! command -v rclone >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get -qq update
        DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends rclone >"$dir/rclone.log" 2>&1 ||
            missing rclone "see $dir/rclone.log"
    else
        missing rclone "install rclone"
    fi
fi

rest_server() {
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 2>/dev/null | grep -v security | head -n 1)
    keys=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -n "$mirror" ] && [ -r "$keys" ] || return 1
    apt=$dir/apt
    mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$apt/parts"
    for suite in trixie sid; do
        echo "deb [signed-by=$keys] $mirror $suite main" >"$apt/sources.list"
        set -- -qq -o "Dir::Etc::sourcelist=$apt/sources.list" -o "Dir::Etc::sourceparts=$apt/parts" \
            -o "Dir::State::lists=$apt/lists" -o "Dir::Cache::archives=$apt/archives" \
            -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root
        apt-get "$@" update && (cd "$dir" && apt-get "$@" download restic-rest-server) || continue
        dpkg-deb -x "$dir"/restic-rest-server_*.deb "$dir/rest-server" && rm -rf "$apt" && return 0
    done
    return 1
}

if ! [ -x "$dir/rest-server/usr/bin/restic-rest-server" ] && ! command -v restic-rest-server >/dev/null; then
    if command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null; then
        rest_server || missing rest-server "no Debian suite that is reached from here has restic-rest-server"
    else
        missing rest-server "install restic's rest-server"
    fi
fi
exit 0
