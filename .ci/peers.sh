#!/usr/bin/env bash
# Install the programs of other makers that the tests talk to; whatever is there already is left alone.
#
# Debian packages are installed when this runs as root, and never started as services: the tests
# start each peer themselves, on loopback. Without root the missing packages are named; that ends in
# an error under CI, and otherwise in the failure of exactly those tests that need them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

missing=()
needs() { # needs PACKAGE COMMAND-OR-FILE…: any one of them will do
    local package=$1 sign
    shift
    for sign in "$@"; do
        if [[ $sign == /* ]]; then
            if [[ -e $sign ]]; then return; fi
        elif command -v "$sign" >/dev/null; then
            return
        fi
    done
    missing+=("$package")
}

PATH=$PATH:/usr/sbin:/sbin
needs dcmtk storescu
needs dcm2niix dcm2niix
needs orthanc Orthanc
needs orthanc-dicomweb /usr/share/orthanc/plugins/libOrthancDicomWeb.so /usr/lib/orthanc/libOrthancDicomWeb.so
needs dicom3tools dciodvfy
needs default-jre-headless java
needs libpixelmed-java /usr/share/java/pixelmed.jar
needs libbsh-java /usr/share/java/bsh.jar
needs poppler-utils pdftotext
needs postgresql /usr/lib/postgresql/*/bin/initdb
needs wireguard-tools wg
needs wireguard-go wireguard-go
needs nftables nft
needs iproute2 ip
needs iputils-ping ping
needs tcpdump tcpdump
needs strace strace
needs curl curl
needs chromium chromium
needs openssh-client sftp
needs openssh-server sshd
needs lftp lftp
needs systemd systemd-analyze
needs nodejs node
needs npm npm

policy=/usr/sbin/policy-rc.d
restore_policy() {
    if [[ -e $policy.before-pons || -L $policy.before-pons ]]; then
        mv -f "$policy.before-pons" "$policy"
    elif [[ -n ${policy_is_ours:-} ]]; then
        rm -f "$policy"
    fi
}

install_debian_packages() {
    trap restore_policy EXIT
    if [[ -e $policy || -L $policy ]]; then mv -f "$policy" "$policy.before-pons"; fi
    policy_is_ours=yes
    printf '#!/bin/sh\nexit 101\n' >"$policy" # 101: no service may be started
    chmod 755 "$policy"
    echo "installing ${missing[*]}"
    local log
    log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
        tail -n 30 "$log" >&2
        rm -f "$log"
        echo "apt-get could not install: ${missing[*]}" >&2
        exit 1
    fi
    rm -f "$log"
    restore_policy
    trap - EXIT
}

if ((${#missing[@]})); then
    if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
        install_debian_packages
    else
        echo "missing peers: run as root: apt-get install --no-install-recommends ${missing[*]}" >&2
        if [[ -n ${CI:-} ]]; then exit 1; fi
        echo "going on: the tests that need them will fail" >&2
    fi
fi

stamp=tests/peers/node_modules/.stamp
if [[ -f tests/peers/package.json && ! $stamp -nt tests/peers/package.json ]]; then
    if command -v npm >/dev/null; then
        echo "installing the npm packages of tests/peers"
        (cd tests/peers && npm install --no-audit --no-fund --no-package-lock --loglevel=error)
        touch "$stamp"
    elif [[ -n ${CI:-} ]]; then
        exit 1
    fi
fi
