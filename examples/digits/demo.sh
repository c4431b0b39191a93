#!/bin/sh
# The main job: data in Blob, staged to the nodes, ResNet-50 trained by Horovod on 2 nodes and on 1, a report.
# Every line that starts with `$` on the screen is a command that you can type yourself. Words after the
# script's name go to both jobs: `--set env.EPOCHS=1` makes it short.
set -eu
cd -- "$(dirname -- "$0")/../.."
PATH=$PWD/.venv/bin:$PATH
cluster=demo-$$
work=$PWD/.hpcai/$cluster
export HPCAI_RUNS_ROOT="${HPCAI_RUNS_ROOT:-$PWD/.hpcai/runs}"

type_and_run() {
    printf '\n$ %s\n' "$*" >&2
    "$@"
}

# What a demo that was killed has left running ends with the next one.
end_dead_demos() {
    for left in "$PWD"/.hpcai/demo-*; do
        number=${left##*-}
        if [ -d "$left" ] && ! kill -0 "$number" 2>/dev/null; then
            hpcai local down --name "demo-$number" --purge || :
            rm -rf -- "$left"
        fi
    done
}

stop_everything() {
    status=$?
    trap - EXIT
    trap '' HUP INT TERM
    type_and_run hpcai local down --name "$cluster" --purge || :
    rm -rf -- "$work"
    exit "$status"
}
trap stop_everything EXIT
# By itself a shell that a signal ends does not stop everything: HUP comes when the terminal closes.
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

end_dead_demos
mkdir -p -- "$work"
type_and_run hpcai local up --nodes 2 --cpus-per-node 1 --blob --name "$cluster"
eval "$(hpcai local env --name "$cluster")"

type_and_run python examples/digits/write_images.py "$work/images"
type_and_run hpcai data pack "$work/images" "$work/shards" --name digits --shard-mib 1
type_and_run hpcai data push "$work/shards" azure://datasets/digits
type_and_run hpcai data ls azure://datasets

two=$(type_and_run hpcai submit examples/digits/resnet50.yaml --follow --quiet "$@")
# For comparison the same on 1 node.
one=$(type_and_run hpcai submit examples/digits/resnet50.yaml --set nodes=1 \
    --set name=resnet50-digits-1-node --follow --quiet "$@")
type_and_run hpcai report "$two" "$one"

cat >&2 <<END

Three commands to try next (with PATH="$PWD/.venv/bin:\$PATH" HPCAI_RUNS_ROOT="$HPCAI_RUNS_ROOT"):
  hpcai submit examples/digits/resnet50.yaml --dry-run     the script that Slurm ran, in full
  hpcai logs $two     what rank 0 printed
  hpcai local up --blob                                    a cluster of your own, to go on with
END
