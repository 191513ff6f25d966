#!/usr/bin/env bash
# Each instruction set's object file must export its one function and nothing else, above all nothing weak: the linker
# would be free to call a weak function, compiled for a newer machine, from anywhere in the program.
# Usage: check_symbols.sh BUILD_FOLDER
set -euo pipefail

build=${1:?usage: check_symbols.sh BUILD_FOLDER}
mapfile -t objects < <(find "$build" \( -path '*netsuke_kernels.dir*' -o -path '*netsuke_train_kernels.dir*' \) -name '*.o' \
  -not -path '*/apart/*' | sort)
if [ ${#objects[@]} -eq 0 ]; then
  echo "check_symbols: no object files of the kernels below $build; build first" >&2
  exit 1
fi
status=0
for object in "${objects[@]}"; do
  room=netsuke
  case $object in *netsuke_train_kernels.dir*) room=netsuke::train ;; esac
  own="${room}::$(basename "$object" .cc.o)_kernels()"
  exported=$(nm -C --defined-only "$object" | awk '{print $2, $3}' | grep -E '^[A-Zuvw] ' || true)
  extra=$(grep -v "^T $own$" <<<"$exported" || true)
  if ! grep -q "^T $own$" <<<"$exported"; then
    echo "check_symbols: $object does not export $own" >&2
    status=1
  fi
  if [ -n "$extra" ]; then
    printf 'check_symbols: %s exports more than its table:\n%s\n' "$object" "$extra" >&2
    status=1
  fi
done
exit $status
