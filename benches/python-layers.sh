# shellcheck shell=bash
# A layer of Python packages in two releases some weeks apart, seven of eleven upgraded, all times new, for the benchmarks; sourced,
# never run. They come by pip from wherever it is configured to take them.
#
# Wants `layers` (a folder that is kept between runs), `size` (large, or small: some 90 MB instead of 560) and `stand_in` (yes where
# this machine's own files stand in for them, as where pip gets none).

one='numpy==1.26.3 pandas==2.1.4 scipy==1.11.4 scikit-learn==1.3.2 opencv-python-headless==4.8.1.78 onnxruntime==1.16.3
  fastapi==0.104.1 uvicorn==0.24.0 sqlalchemy==2.0.23 pillow==10.1.0 pypdf==3.17.1'
two='numpy==1.26.4 pandas==2.2.0 scipy==1.11.4 scikit-learn==1.4.0 opencv-python-headless==4.9.0.80 onnxruntime==1.17.0
  fastapi==0.109.0 uvicorn==0.27.0 sqlalchemy==2.0.25 pillow==10.2.0 pypdf==4.0.1'
if [[ $size == small ]]; then
  one='numpy==1.26.3 fastapi==0.104.1 uvicorn==0.24.0 sqlalchemy==2.0.23 pillow==10.1.0 pypdf==3.17.1'
  two='numpy==1.26.4 fastapi==0.109.0 uvicorn==0.27.0 sqlalchemy==2.0.25 pillow==10.2.0 pypdf==4.0.1'
fi
wheels=(--no-deps --only-binary :all: --python-version 3.11 --implementation cp --abi cp311 --abi abi3 --abi none --platform any)
for platform in manylinux_2_28 manylinux_2_27 manylinux_2_17 manylinux2014; do wheels+=(--platform "${platform}_x86_64"); done

# pip_root NAME PACKAGE…: what pip installs of them.
pip_root() {
  local name=$1; shift
  [[ ! -e $layers/$name.root/.complete ]] || return 0
  rm -rf "$layers/$name.root"
  python3 -m pip download --quiet "${wheels[@]}" --dest "$layers/$name.wheels" "$@" &&
    python3 -m pip install --quiet "${wheels[@]}" --no-index --no-warn-script-location --root-user-action ignore \
      --target "$layers/$name.root/usr/local/lib/python3.11/site-packages" "$layers/$name.wheels"/*.whl &&
    touch "$layers/$name.root/.complete"
}

# How much of this machine's files stands in for them.
declare -A stand_in_bytes=([large]=450000000 [small]=80000000)

# Files of this machine, and the same with something inserted and something changed in every second one.
stand_in_roots() {
  rm -rf "$layers"/{one,two}.root
  python3 - "$layers" "${stand_in_bytes[$size]}" <<'PYTHON'
import os, random, sys
work, most, made, chance = sys.argv[1], int(sys.argv[2]), 0, random.Random(1)
for folder, folders, names in sorted(os.walk("/usr/lib")):
    folders.sort()
    for name in sorted(names):
        path = os.path.join(folder, name)
        if os.path.islink(path) or not os.path.isfile(path) or made > most:
            continue
        old = open(path, "rb").read()
        new = old
        if chance.random() < 0.5:
            parts = [old[at:at + 4096] for at in range(0, len(old), 4096)]
            new = b"".join(part if chance.random() < 0.6 else chance.randbytes(40) + part[90:] for part in parts)
        made += len(old)
        for root, content in (("one", old), ("two", new)):
            to = f"{work}/{root}.root{path}"
            os.makedirs(os.path.dirname(to), exist_ok=True)
            open(to, "wb").write(content)
PYTHON
}

layer() { # NAME ROOT TIME
  find "$layers/$2.root" -name .complete -delete
  find "$layers/$2.root" -exec touch --no-dereference --date "@$3" {} +
  tar --create --file "$layers/$1.tar" --directory "$layers/$2.root" --sort name --format posix \
    --pax-option delete=atime,delete=ctime --owner 0 --group 0 --numeric-owner usr
  # The next run does not take a stand-in for what pip has brought.
  [[ $stand_in ]] || touch "$layers/$2.root/.complete"
}

# Makes one.tar, two.tar, and times.tar (the first release with other times) in $layers; `kind` says of what.
make_layers() {
  kind='Python packages'
  if [[ $stand_in ]] || ! { pip_root one $one && pip_root two $two; }; then
    kind="a stand-in of this machine's own files, every second one changed"
    stand_in=yes
    stand_in_roots
  fi
  layer one one 1705000000
  layer times one 1706000123
  layer two two 1710000000
}
