#!/bin/bash
# Trains for some minutes on a machine that is lent for as long, and brings the weights back.
#
#     tools/train_on_gpu.sh PHOTOGRAPHS OUT [START]
#
# PHOTOGRAPHS  folder of pictures; pairs are rendered from them on the GPU while training.
# OUT          gets wren.safetensors (float16, the average over steps), log.csv, log.svg and train.log.
# START        what to go on from: weights, a file or a tag (default: wren, the weights that ship). Give the
#              wren.safetensors of the last time to go on where it ended: the optimiser starts afresh, with a warm-up.
#
# Environment: MINUTES in all (default 8; half a minute of it is kept for writing), BATCH (128), RATE (1e-3), PRESET
# (wren-global), STAGES ("match together": those to run; the time is shared by STEPS), STEPS of the first of two stages
# (400), COSINE (0: steps within which the rate of the last stage falls to a hundredth, after which it ends; 0 keeps the
# rate until the time is over), WORKERS (all cores but two), AUGMENTING (device, or loader), RENDERING (loader; device:
# the workers only draw scenes, and the GPU renders, for machines with few cores), REPEATS (8: samples in a row of one
# rendered pair), DEVICE (cuda), CROP ("320,448"), SCENE ("384,512": at which pairs are rendered), RUN (a scratch folder;
# one that has checkpoints is resumed), EXTRA (more KEY=VALUE for --set), PYTHON (python).
set -euo pipefail

if [ $# -lt 2 ] || [ $# -gt 3 ]; then
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2
    exit 2
fi
photographs=$1 out=$2 start=${3:-wren}
minutes=${MINUTES:-8} batch=${BATCH:-128} rate=${RATE:-1e-3} preset=${PRESET:-wren-global} stages=${STAGES:-match together}
steps=${STEPS:-400} cosine=${COSINE:-0} device=${DEVICE:-cuda} crop=${CROP:-320,448} python=${PYTHON:-python}
cores=$(nproc)
workers=${WORKERS:-$((cores > 3 ? cores - 2 : 1))}
tools=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out"
run=${RUN:-$(mktemp -d)}
begin=$SECONDS
seconds=$(awk -v minutes="$minutes" 'BEGIN { left = 60 * minutes - 30; printf "%d", (left < 10) ? 10 : left }')

# An average over steps, and without COSINE a constant rate: the end may come at any moment.
options=(--set "batch=$batch" --set "learning_rate=$rate" --set schedule=constant --set "crop=$crop"
    --set "rendering=${RENDERING:-loader}" --set "augmenting=${AUGMENTING:-device}" --set "repeats=${REPEATS:-8}"
    --set "scene=${SCENE:-384,512}" --set graph=true --set save_every=100 --set log_every=20
    --set warmup=100 --set average=0.995)
case "$stages" in
"match together") options+=(--set "match.steps=$steps" --set together.steps=1000000) ;;
match) options+=(--set match.steps=1000000) ;;
together) options+=(--set match.steps=0 --set together.steps=1000000) ;;
*) echo "train_on_gpu: STAGES is 'match together', match or together, not '$stages'" >&2 && exit 2 ;;
esac
if [ "$cosine" -gt 0 ]; then
    last=${stages##* }
    options+=(--set "$last.steps=$cosine" --set "$last.schedule=cosine"
        --set "$last.last_learning_rate=$(awk -v rate="$rate" 'BEGIN { print rate / 100 }')")
fi
for option in ${EXTRA:-}; do options+=(--set "$option"); done

status=0
timeout --signal=TERM --kill-after=20 "$seconds" "$python" -m flowzoo train "$preset" --root "$photographs" \
    --weights "$start" --device "$device" --workers "$workers" -o "$run" --resume "${options[@]}" 2>&1 | tee "$out/train.log" || status=$?
if [ "$status" -ne 0 ] && [ "$status" -ne 124 ] && [ "$status" -ne 143 ]; then
    echo "train_on_gpu: training ended with status $status" >&2
    exit "$status"
fi
for log in log.csv log.svg; do
    [ ! -e "$run/$log" ] || cp "$run/$log" "$out/"
done
"$python" "$tools/weights_of_run.py" "$run" -o "$out/wren.safetensors" --half
size=$(stat -c %s "$out/wren.safetensors")
[ "$size" -le 16000000 ] || { echo "train_on_gpu: the weights have $size bytes, over 16 MB" >&2; exit 1; }
echo "trained for $((SECONDS - begin)) s on $device; to measure it:"
echo "    python tools/compare_with_dis.py --root DATA --weights $out/wren.safetensors"
