#!/usr/bin/env bash
# What goes wrong in the tests, and how often: a table of the faults, the cases that a run took, those that passed, and the
# number that should be reached over time.
#
#   faults.sh [WORD…]        runs the fault tests (or those whose names contain one of these), then prints the table
#   faults.sh --all [WORD…]  whole rows instead of samples
#   faults.sh table          prints the table of the last run
#   faults.sh points         lists the named points at which the program can be killed, and where they stand
#
# The tests write a line for each of theirs into ${DPL_FAULTS_TALLY:-target/faults.tsv}: row, cases, passed.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
cd "$here/.."
export DPL_FAULTS_TALLY=${DPL_FAULTS_TALLY:-$PWD/target/faults.tsv}

# Row, number to reach, what it is.
rows='points|300|SIGKILL at each named point of each command that writes, then run again
random-kills|1000|SIGKILL at a random moment of save, load, restart, backup, rebuild
disk-full|200|no room: sizes × each writing command, inodes, fsync, read-only and foreign folders
truncated|800|truncated store files and archives
flipped-bits|2000|flipped bits in blobs, index, sidecars
engine-killed|50|the engine killed in the middle and started again
fake-engine|40|an engine that stalls, closes early, answers 500, half, or nonsense
cut-transfers|30|a transfer cut off, then tried again
two-operators|200|two operators at once, one of them frozen: never two writers
hostile|110|hostile archives and layouts, on each road
bombs|12|bombs: gzip, nested, JSON, zstd windows
secrets|30|a marker as every secret, sought in everything that is written or said
graphs|10000|generated dependency graphs: order, cycles, failure, rollback
hang-ups|20|the terminal closed in the middle of an action, which goes on to its end
menus|40|menus through a pseudo-terminal'

table() {
  [[ -s $DPL_FAULTS_TALLY ]] || { echo "$DPL_FAULTS_TALLY does not exist: run faults.sh first" >&2; exit 1; }
  awk -F '\t' -v rows="$rows" '
    { cases[$1] += $2; passed[$1] += $3 }
    END {
      count = split(rows, row, "\n")
      printf "%-14s %8s %8s %8s  %s\n", "FAULT", "CASES", "PASSED", "TO REACH", "WHAT"
      for (at = 1; at <= count; at++) {
        split(row[at], part, "|")
        printf "%-14s %8d %8d %8d  %s\n", part[1], cases[part[1]], passed[part[1]], part[2], part[3]
        if (cases[part[1]] != passed[part[1]]) failed = 1
        delete cases[part[1]]
      }
      for (other in cases) { printf "%s is no row of this table\n", other; failed = 1 }
      exit failed
    }' "$DPL_FAULTS_TALLY"
}

points() {
  grep -rnoE --include='*.rs' '^[^/]*failpoint!\("[^"]+"' src |
    sed -E 's/^([^:]+:[0-9]+):.*failpoint!\("([^"]+)"/\2 \1/' | sort |
    awk '{ printf "%-45s %s\n", $1, $2 } END { printf "%d points\n", NR }'
}

# Tests that keep no tally: by their names in the log, each with so many cases.
count() { # PATTERN ROW CASES
  local all passed
  all=$(ended '[A-Z]+' "$1")
  passed=$(ended '(PASS|LEAK)' "$1")
  ((all == 0)) || printf '%s\t%d\t%d\n' "$2" $((all * $3)) $((passed * $3)) >>"$DPL_FAULTS_TALLY"
}
# As nextest says it: `PASS [   0.005s] (12/34) dpl::faults kills::a_killed_save`.
ended() { # STATE PATTERN
  { grep -E "^ +$1 \[ *[0-9.]+s\] .*\b$2" target/faults.log || true; } | awk '{ print $NF }' | sort -u | wc -l
}

run() {
  mkdir -p target
  rm -f "$DPL_FAULTS_TALLY"
  local failed=''
  # The modules of tests/faults, and what is counted elsewhere.
  local modules=() others=(plan::tests::generated plan::tests::simulated)
  # Those of the terminal that are about menus and need no engine; `actions` and `packages` would be other binaries' too.
  mapfile -t modules < <(sed -n 's/^mod \([a-z_]*\);$/\1::/p' tests/faults/main.rs tests/terminal/main.rs |
    grep -vE '^(support|harness|subjects|tally|screen|actions|languages|desk|packages)')
  (($#)) || set -- "${modules[@]}" "${others[@]}"
  "$here/test.sh" "$@" 2>&1 | tee target/faults.log || failed=yes
  count 'plan::tests::(generated|simulated)' graphs "${DPL_GRAPHS:-200}"
  table
  [[ ! $failed ]]
}

case ${1:-} in
  table) table ;;
  points) points ;;
  --all) shift; export NEXTEST_PROFILE=soak DPL_FAULTS_ALL=1 DPL_GRAPHS=${DPL_GRAPHS:-10000}; run "$@" ;;
  -*) sed -n '5,8s/^#   //p' "$0" >&2; exit 2 ;;
  *) run "$@" ;;
esac
