#!/usr/bin/env bash
# Prints the path of a `denort` runtime (Deno 2.6.10, linux x86-64) for `deno compile` where Deno's own download
# server cannot be reached. The runtime comes out of a public npm package that is itself a `deno compile` product;
# npm checks its integrity. Tested with the Deno CLI 2.6.8, 2.7.1, 2.7.14 and 2.8.3; 2.9.6 writes a newer section
# format that this runtime does not read ("Could not find standalone binary section").
#
#   DENORT_BIN=$(tests/support/denort.sh) deno compile …
#
# On a machine that reaches Deno's server this script is not needed: `deno compile` fetches denort itself.
set -euo pipefail
cache="${XDG_CACHE_HOME:-$HOME/.cache}/denort-2.6.10"
binary="$cache/package/bin/mcp-stress"
if [ ! -x "$binary" ]; then
  mkdir -p "$cache"
  (cd "$cache" && npm pack --silent @mcp-stress/linux-x64@0.2.1 >/dev/null && tar xzf mcp-stress-linux-x64-0.2.1.tgz && rm -f ./*.tgz)
fi
test -x "$binary"
echo "$binary"
