#!/usr/bin/env bash
# How fast databases are backed up and rebuilt, beside what people do by hand: peers in turn, in the same run.
#
#   databases.sh [RUNS] [RESULTS.json]
#
# On the engine that DOCKER_HOST names, which must have the image postgres:15 (scripts/stand-ins.sh makes one), with the
# program that DPL names (target/release/dpl). Each work is measured RUNS times (3), and the median counts. The table goes to standard
# output, the figures as JSON to RESULTS.json (target/bench-databases.json).
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
source "$here/../scripts/debian.sh"

runs=${1:-3}
results=${2:-$here/../target/bench-databases.json}
dpl=$(readlink -f "${DPL:-$here/../target/release/dpl}")
scale=${DPL_BENCH_SCALE:-60}
rows=${DPL_BENCH_ROWS:-1500000}

[[ ${DOCKER_HOST:-} ]] || die 'set DOCKER_HOST to the engine to measure on (scripts/engine.sh up NAME prints one)'
[[ -x $dpl ]] || die "there is no $dpl: cargo build --release, or name one in DPL"
need docker=docker.io jq gzip

work=$(mktemp -d "${TMPDIR:-/tmp}/dpl-bench.XXXXXX")
project=dplbench$$
server=$project-db-1
cleanup() {
  docker rm --force --volumes "$server" >/dev/null 2>&1 || true
  docker network rm "${project}_default" >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT

cat >"$work/stack.json" <<JSON
{"project": "$project", "paths": {"backups": "backups"},
 "databases": {"bench": {"service": "db", "seed": "seed"}},
 "services": {"db": {"image": "postgres:15", "shm_size": "1g",
   "environment": {"POSTGRES_HOST_AUTH_METHOD": "trust"}, "ready": {"tcp": 5432}}}}
JSON
cd "$work"
export DPL_MANIFEST=$work/stack.json

inside() { docker exec --interactive "$server" "$@"; }
sql() { inside psql --username=postgres --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 "$@"; }

echo 'databases.sh: making the database' >&2
"$dpl" start --yes --quiet
sql --command='CREATE DATABASE bench' >&2
inside pgbench --username=postgres --initialize --quiet --scale="$scale" bench >&2 2>/dev/null
sql --dbname=bench >&2 <<SQL
CREATE TABLE documents AS SELECT n AS id, md5(n::text) || ' ' || md5((n * 7)::text) AS title,
  jsonb_build_object('number', n, 'kind', n % 17, 'tags', jsonb_build_array(md5((n % 1000)::text), 'x' || n % 99),
    'note', repeat('abc ', n % 20)) AS document FROM generate_series(1, $rows) AS n;
ALTER TABLE documents ADD PRIMARY KEY (id);
CREATE INDEX ON documents ((document->>'kind'));
VACUUM ANALYZE;
CHECKPOINT;
SQL
size=$(sql --dbname=bench --command='SELECT pg_database_size(current_database())')

# measured NAME COMMAND…: appends the seconds that it took to the file NAME.
measured() {
  local name=$1 begun ended
  shift
  sync
  begun=$(date +%s.%N)
  "$@"
  ended=$(date +%s.%N)
  awk -v a="$begun" -v b="$ended" 'BEGIN { printf "%.3f\n", b - a }' >>"$name"
}

custom() { docker exec "$server" pg_dump -U postgres -Fc bench >custom.dump; }
zipped() { docker exec "$server" pg_dump -U postgres bench | gzip >plain.sql.gz; }
by_dpl() { "$dpl" db backup bench --yes --quiet --allow-shrink; }
restored() {
  sql --command='CREATE DATABASE by_hand' >&2
  docker exec -i "$server" pg_restore -U postgres -d by_hand <custom.dump
}
# The backup of the old database is not part of what a restore by hand does.
rebuilt() { "$dpl" db rebuild bench --yes --quiet --json --no-backup >rebuild.json; }

for ((run = 1; run <= runs; run++)); do
  echo "databases.sh: round $run of $runs" >&2
  measured custom custom
  measured zipped zipped
  rm -rf backups
  measured backup by_dpl
done
cp -a backups/databases/bench/* seed
for ((run = 1; run <= runs; run++)); do
  echo "databases.sh: rebuild $run of $runs" >&2
  measured restored restored
  sql --command='DROP DATABASE by_hand' >&2
  measured rebuilt rebuilt
  jq '.rebuilds[0].nameless_ms / 1000' rebuild.json >>nameless
done

median() { sort -n "$1" | awk '{ all[NR] = $1 } END { print NR % 2 ? all[(NR + 1) / 2] : (all[NR / 2] + all[NR / 2 + 1]) / 2 }'; }
bytes_of() { du --bytes --total --summarize "$@" | tail -n 1 | cut -f 1; }

jq --null-input \
  --argjson size "$size" --argjson runs "$runs" \
  --argjson backup "$(median backup)" --argjson custom "$(median custom)" --argjson zipped "$(median zipped)" \
  --argjson rebuilt "$(median rebuilt)" --argjson restored "$(median restored)" --argjson nameless "$(median nameless)" \
  --argjson backup_bytes "$(bytes_of seed/archive)" --argjson custom_bytes "$(bytes_of custom.dump)" --argjson zipped_bytes "$(bytes_of plain.sql.gz)" \
  --slurpfile all <(for name in custom zipped backup restored rebuilt nameless; do
    jq --slurp --arg name "$name" '{($name): .}' "$name"; done) \
  '{database_bytes: $size, runs: $runs, seconds: ($all | add),
    medians: {backup: $backup, custom: $custom, zipped: $zipped, rebuilt: $rebuilt, restored: $restored, nameless: $nameless},
    bytes: {backup: $backup_bytes, custom: $custom_bytes, zipped: $zipped_bytes},
    ratios: {backup_to_custom: ($custom / $backup), backup_to_zipped: ($zipped / $backup), rebuild_to_restore: ($restored / $rebuilt)}}' >"$results"

jq --raw-output 'def two: . * 100 | round / 100;
  "database: \(.database_bytes / 1e6 | round) MB, median of \(.runs)",
  "",
  "| work | dpl | against | theirs | times faster | reach |",
  "|---|---|---|---|---|---|",
  "| backup | \(.medians.backup | two) s, \(.bytes.backup / 1e6 | round) MB | `docker exec … pg_dump -Fc > file` | \(.medians.custom | two) s, \(.bytes.custom / 1e6 | round) MB | \(.ratios.backup_to_custom | two) | 2.5 |",
  "| | | `docker exec … pg_dump \\| gzip > file` | \(.medians.zipped | two) s, \(.bytes.zipped / 1e6 | round) MB | \(.ratios.backup_to_zipped | two) | 3 |",
  "| rebuild | \(.medians.rebuilt | two) s | `docker exec -i … pg_restore < file` | \(.medians.restored | two) s | \(.ratios.rebuild_to_restore | two) | 1.4 |",
  "| database unavailable | \(.medians.nameless) s | | | | ≤ 0.2 s |"' "$results"
