#!/usr/bin/env bash
# A/B on one machine in one run: the tunnel (bridge, relay, bridge) beside three tokio proxies in a row.
#
#   cargo build --release --workspace --bins && benches/ab.sh
#
# Rounds alternate between the two. Figures are CPU time (user and system) per unit of work, summed over the three
# processes of each. Wall time says little on a shared machine: look at steal_percent, and repeat what is over 2.
#
# Settings: BIN (folder of the binaries), VIADUCT_AB_ROUNDS, VIADUCT_AB_GIGABYTES, VIADUCT_AB_SECONDS,
# VIADUCT_AB_CONNECTIONS ("1 64 512"), VIADUCT_AB_ENGINE, VIADUCT_AB_TLS=1.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

BIN=${BIN:-${CARGO_TARGET_DIR:-target}/release}
ROUNDS=${VIADUCT_AB_ROUNDS:-5}
GIGABYTES=${VIADUCT_AB_GIGABYTES:-2}
RR_SECONDS=${VIADUCT_AB_SECONDS:-4}
read -ra CONNECTIONS <<<"${VIADUCT_AB_CONNECTIONS:-1 64 512}"
ENGINE=${VIADUCT_AB_ENGINE:-auto}
WORK=$(mktemp -d)
PIDS=()
trap 'for pid in "${PIDS[@]}"; do kill "$pid" 2>/dev/null || true; done; wait 2>/dev/null || true; rm -rf "$WORK"' EXIT

# launch NAME COMMAND...: starts a process whose output goes to a file; LAST is its process id.
launch() {
  local name=$1
  shift
  "$@" >"$WORK/$name" 2>&1 &
  LAST=$!
  PIDS+=("$LAST")
}

# address NAME: waits for the line `listening on ...` of a process and prints host:port.
address() {
  local end=$((SECONDS + 20)) line
  until line=$(grep -m1 -o 'listening on [^ ]*' "$WORK/$1"); do
    ((SECONDS < end)) || { cat "$WORK/$1" >&2; exit 1; }
    sleep 0.05
  done
  line=${line#listening on }
  printf '%s\n' "${line#*://}"
}

# chain NAME TARGET: three proxies in a row before TARGET. Sets ENTRY, and CHAIN to the three process ids.
chain() {
  local hop
  ENTRY=$2
  CHAIN=()
  for hop in 3 2 1; do
    launch "$1$hop" "$BIN/tokio_proxy" 127.0.0.1:0 "$ENTRY"
    CHAIN+=("$LAST")
    ENTRY=$(address "$1$hop")
  done
}

open_tunnel() {
  local security=(--no-tls) common=(--engine "$ENGINE" --threads 1)
  local relay_security=(--no-tls) port
  if [[ ${VIADUCT_AB_TLS:-0} == 1 ]]; then
    security=(--ca "$WORK/state/ca.pem")
    relay_security=()
  fi
  launch relay "$BIN/viaduct" relay --dev --state-dir "$WORK/state" --listen 127.0.0.1:0 --admin 127.0.0.1:0 \
    "${relay_security[@]}" "${common[@]}"
  TUNNEL=("$LAST")
  address relay >/dev/null
  local connection
  connection=$(<"$WORK/state/connection-string")
  launch remote "$BIN/viaduct" bridge -x "$connection" "${security[@]}" "${common[@]}" \
    -T "ab:echo/$ECHO;sink/$SINK;source/$SOURCE"
  TUNNEL+=("$LAST")
  port=$((21000 + $$ % 4000 * 3))
  launch local "$BIN/viaduct" bridge -x "$connection" "${security[@]}" "${common[@]}" \
    -L "127.0.0.1:$port/echo;127.0.0.1:$((port + 1))/sink;127.0.0.1:$((port + 2))/source:ab"
  TUNNEL+=("$LAST")
  TUNNEL_ECHO=127.0.0.1:$port TUNNEL_SINK=127.0.0.1:$((port + 1)) TUNNEL_SOURCE=127.0.0.1:$((port + 2))
  local end=$((SECONDS + 30))
  until "$BIN/viaduct-load" rr --to "$TUNNEL_ECHO" --seconds 0.1 --warmup 0 >/dev/null 2>&1; do
    ((SECONDS < end)) || { tail -n 5 "$WORK/relay" "$WORK/remote" "$WORK/local" >&2; exit 1; }
    sleep 0.2
  done
}

# measure CONTENDER CASE PID,PID COMMAND...: runs the load generator once and keeps its line.
measure() {
  local contender=$1 case=$2 pid watched=()
  for pid in ${3//,/ }; do watched+=(--pid "$pid"); done
  shift 3
  printf '%s %s %s\n' "$contender" "$case" "$(timeout 300 "$BIN/viaduct-load" "$@" "${watched[@]}")" |
    tee -a "$WORK/results"
}

for service in echo sink source; do launch "$service" "$BIN/viaduct-load" "$service"; done
ECHO=$(address echo) SINK=$(address sink) SOURCE=$(address source)
open_tunnel
chain echo_hop "$ECHO"
CHAIN_ECHO=$ENTRY ECHO_PIDS=("${CHAIN[@]}")
chain sink_hop "$SINK"
CHAIN_SINK=$ENTRY SINK_PIDS=("${CHAIN[@]}")
chain source_hop "$SOURCE"
CHAIN_SOURCE=$ENTRY SOURCE_PIDS=("${CHAIN[@]}")
join() { local IFS=,; printf '%s' "$*"; }

for ((round = 1; round <= ROUNDS; round++)); do
  printf -- '-- round %d of %d\n' "$round" "$ROUNDS"
  bulk=(bulk --gigabytes "$GIGABYTES")
  measure tunnel up "$(join "${TUNNEL[@]}")" "${bulk[@]}" --direction up --to "$TUNNEL_SINK"
  measure tokio3 up "$(join "${SINK_PIDS[@]}")" "${bulk[@]}" --direction up --to "$CHAIN_SINK"
  measure tunnel down "$(join "${TUNNEL[@]}")" "${bulk[@]}" --direction down --to "$TUNNEL_SOURCE"
  measure tokio3 down "$(join "${SOURCE_PIDS[@]}")" "${bulk[@]}" --direction down --to "$CHAIN_SOURCE"
  for count in "${CONNECTIONS[@]}"; do
    rr=(rr --connections "$count" --seconds "$RR_SECONDS" --warmup 0.5)
    measure tunnel "rr$count" "$(join "${TUNNEL[@]}")" "${rr[@]}" --to "$TUNNEL_ECHO"
    measure tokio3 "rr$count" "$(join "${ECHO_PIDS[@]}")" "${rr[@]}" --to "$CHAIN_ECHO"
  done
done

# Medians over the rounds, and the ratio tunnel : three proxies.
awk '
  function median(text, values, n, i, j, swap) {
    n = split(text, values, " ")
    for (i = 2; i <= n; i++)
      for (j = i; j > 1 && values[j - 1] + 0 > values[j] + 0; j--) {
        swap = values[j]; values[j] = values[j - 1]; values[j - 1] = swap
      }
    return values[int((n + 1) / 2)]
  }
  {
    if (!($2 in seen)) { seen[$2] = 1; order[++cases] = $2 }
    for (i = 3; i <= NF; i++) {
      split($i, word, "=")
      if (word[1] ~ /^cpu_(seconds|us)_per/) cost[$1, $2] = cost[$1, $2] " " word[2]
      if (word[1] == "steal_percent" && word[2] > stolen) stolen = word[2]
    }
  }
  END {
    print "-- median CPU: s/GB for up and down, us/message for rr; all three processes of each"
    for (i = 1; i <= cases; i++) {
      ours = median(cost["tunnel", order[i]]); theirs = median(cost["tokio3", order[i]])
      printf "%-6s tunnel %8.3f   three tokio proxies %8.3f   ratio %.2f\n", order[i], ours, theirs,
        (theirs > 0) ? ours / theirs : 0
    }
    printf "highest steal %.1f %%%s\n", stolen, (stolen > 2) ? " (over 2: repeat on a quiet machine)" : ""
  }' "$WORK/results"
