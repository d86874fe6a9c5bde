#!/bin/sh
# nats-server with a slower disk: each of its fsyncs takes FSYNC_US microseconds longer, as on a disk behind a
# network. For benchmarks, started in nats-server's place. Needs strace 5.3 or newer, which stops the server at
# its fsyncs only; the server stays this process and is ended as itself.
here=$(dirname "$0")
server=$(env -u NATS_SERVER python3 "$here/nats_server.py") || exit
command -v strace >/dev/null || { echo "slow_disk.sh: strace is missing: install it" >&2; exit 1; }
exec strace -D -f -qqq --seccomp-bpf -e signal=none -e trace=fsync,fdatasync \
	-e "inject=fsync,fdatasync:delay_enter=${FSYNC_US:?microseconds}" -o /dev/null "$server" "$@"
