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
need docker=docker.io jq gzip time

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
 "databases": {"bench": {"service": "db", "seed": "seed"}, "small": {"service": "db", "seed": "small-seed"}},
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
# As large as a database of the demo: some tables with keys, a few thousand rows.
sql --command='CREATE DATABASE small' >&2
sql --dbname=small >&2 <<SQL
SELECT format('CREATE TABLE t%s (id serial PRIMARY KEY, name text, doc jsonb, at timestamptz DEFAULT now());
  INSERT INTO t%s (name, doc) SELECT md5(n::text), jsonb_build_object(''n'', n) FROM generate_series(1, 200) n; CREATE INDEX ON t%s (name)', n, n, n)
  FROM generate_series(1, 20) n \gexec
SQL
size=$(sql --dbname=bench --command='SELECT pg_database_size(current_database())')

# measured NAME COMMAND…: appends the seconds that it took to the file NAME.
measured() {
  local name=$1 begun ended
  shift
  sync
  begun=$(date +%s.%N)
  resident "$name" "$@"
  ended=$(date +%s.%N)
  awk -v a="$begun" -v b="$ended" 'BEGIN { printf "%.3f\n", b - a }' >>"$name"
}

# resident NAME COMMAND…: runs a function as it is, and a program with its peak memory in KiB appended to NAME.memory.
resident() {
  local name=$1
  shift
  if [[ $(type -t "$1") == function ]]; then "$@"; return; fi
  command time --format %M --output "$name.memory" --append "$@" >output.json
}

custom() { docker exec "$server" pg_dump -U postgres -Fc bench >custom.dump; }
zipped() { docker exec "$server" pg_dump -U postgres bench | gzip >plain.sql.gz; }
by_dpl=("$dpl" db backup bench --yes --quiet --allow-shrink)
small_by_hand() { docker exec "$server" pg_dump -U postgres -Fc small >small.dump; }
small_restored() {
  docker exec "$server" createdb -U postgres by_hand
  docker exec -i "$server" pg_restore -U postgres -d by_hand <small.dump
}
restored() {
  sql --command='CREATE DATABASE by_hand' >&2
  docker exec -i "$server" pg_restore -U postgres -d by_hand <custom.dump
}
# The backup of the old database is not part of what a restore by hand does.
rebuilt=("$dpl" db rebuild bench --yes --quiet --json --no-backup)

for ((run = 1; run <= runs; run++)); do
  echo "databases.sh: round $run of $runs" >&2
  measured custom custom
  measured zipped zipped
  rm -rf backups
  measured backup "${by_dpl[@]}"
  for ((turn = 1; turn <= 3; turn++)); do
    measured small_by_hand small_by_hand
    measured small_backup "$dpl" db backup small --yes --quiet --allow-shrink
    [[ -d small-seed ]] || { mkdir small-seed; cp -a "$(ls -d backups/databases/small/* | tail -n 1)"/. small-seed; }
    measured small_restored small_restored
    sql --command='DROP DATABASE by_hand' >&2
    measured small_rebuilt "$dpl" db rebuild small --yes --quiet --no-backup
  done
done
cp -a backups/databases/bench/* seed
for ((run = 1; run <= runs; run++)); do
  echo "databases.sh: rebuild $run of $runs" >&2
  measured restored restored
  sql --command='DROP DATABASE by_hand' >&2
  measured rebuilt "${rebuilt[@]}"
  jq '.rebuilds[0].nameless_ms / 1000' output.json >>nameless
done
# What a rebuild takes by default: the old one is backed up, and the backup restored once more to prove it.
measured rebuilt_and_proved "$dpl" db rebuild bench --yes --quiet --json

median() { sort -n "$1" | awk '{ all[NR] = $1 } END { print NR % 2 ? all[(NR + 1) / 2] : (all[NR / 2] + all[NR / 2 + 1]) / 2 }'; }
ratio() { awk -v a="$(median "$1")" -v b="$(median "$2")" 'BEGIN { printf "%.3f", a / b }'; }
largest=$(sort -n ./*.memory | tail -n 1)

bytes_of() { du --bytes --total --summarize "$@" | tail -n 1 | cut -f 1; }

jq --null-input \
  --argjson size "$size" --argjson runs "$runs" \
  --argjson backup "$(median backup)" --argjson custom "$(median custom)" --argjson zipped "$(median zipped)" \
  --argjson rebuilt "$(median rebuilt)" --argjson restored "$(median restored)" --argjson nameless "$(median nameless)" \
  --argjson backup_bytes "$(bytes_of seed/archive)" --argjson custom_bytes "$(bytes_of custom.dump)" --argjson zipped_bytes "$(bytes_of plain.sql.gz)" \
  --argjson small_backup "$(ratio small_backup small_by_hand)" --argjson small_rebuild "$(ratio small_rebuilt small_restored)" \
  --argjson largest "$largest" \
  --slurpfile all <(for name in custom zipped backup restored rebuilt rebuilt_and_proved nameless small_by_hand small_backup small_restored small_rebuilt; do
    jq --slurp --arg name "$name" '{($name): .}' "$name"; done) \
  '{database_bytes: $size, runs: $runs, seconds: ($all | add),
    medians: {backup: $backup, custom: $custom, zipped: $zipped, rebuilt: $rebuilt, restored: $restored, nameless: $nameless},
    bytes: {backup: $backup_bytes, custom: $custom_bytes, zipped: $zipped_bytes},
    small: {backup_time_of_theirs: $small_backup, rebuild_time_of_theirs: $small_rebuild}, memory_kib: $largest,
    ratios: {backup_to_custom: ($custom / $backup), backup_to_zipped: ($zipped / $backup), rebuild_to_restore: ($restored / $rebuilt)}}' >"$results"

jq --raw-output 'def two: . * 100 | round / 100;
  "database: \(.database_bytes / 1e6 | round) MB, median of \(.runs)",
  "",
  "| work | dpl | against | theirs | times faster | reach |",
  "|---|---|---|---|---|---|",
  "| backup | \(.medians.backup | two) s, \(.bytes.backup / 1e6 | round) MB | `docker exec … pg_dump -Fc > file` | \(.medians.custom | two) s, \(.bytes.custom / 1e6 | round) MB | \(.ratios.backup_to_custom | two) | 2.5 |",
  "| | | `docker exec … pg_dump \\| gzip > file` | \(.medians.zipped | two) s, \(.bytes.zipped / 1e6 | round) MB | \(.ratios.backup_to_zipped | two) | 3 |",
  "| rebuild | \(.medians.rebuilt | two) s | `docker exec -i … pg_restore < file` | \(.medians.restored | two) s | \(.ratios.rebuild_to_restore | two) | 1.4 |",
  "| rebuild with a proved backup | \(.seconds.rebuilt_and_proved[0] | two) s | | | | |",
  "| a small one: backup | | `docker exec … pg_dump -Fc > file` | | \(.small.backup_time_of_theirs | two) of their time | ≤ 1 |",
  "| a small one: rebuild | | `createdb`, `pg_restore` | | \(.small.rebuild_time_of_theirs | two) of their time | ≤ 1 |",
  "| database unavailable | \(.medians.nameless) s | | | | ≤ 0.05 s |",
  "| memory | \(.memory_kib / 1024 | round) MiB | | | | ≤ 64 MiB |"' "$results"
