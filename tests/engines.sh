# shellcheck shell=bash
# Engines of other versions than the machine's, for tests: part of ./dev, which has what is called here.

# The suite of Debian's that carries each engine which the machine's own suite does not.
declare -A ENGINE_SUITE=([26]=trixie [28]=forky)

# apt_aside FOLDER COMMAND…: apt with sources and state of its own; the machine's stay as they are.
apt_aside() {
  local folder=$1
  shift
  APT_CONFIG=$folder/apt.conf "$@"
}

# Where this machine's apt gets Debian from, mirrors included.
debian_mirror() {
  # shellcheck disable=SC2016
  apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)' 'Created-By: Packages' |
    awk -F'|' '$1 == "Debian" && $2 == "Debian" && $3 == "main" { print $4; exit }'
}

# ensure_engine MAJOR: unpacks that engine into the cache and sets SKYSWARM_ENGINE_DIR. It is not installed.
ensure_engine() {
  local folder=$CACHE/engine-$1 suite=${ENGINE_SUITE[$1]:-} mirror work package
  export SKYSWARM_ENGINE_DIR=$folder
  [ -x "$folder/usr/sbin/dockerd" ] && return
  [ -n "$suite" ] || die "no engine $1 is known; there are ${!ENGINE_SUITE[*]}"
  ensure_packages dpkg=dpkg-deb
  mirror=$(debian_mirror)
  [ -n "$mirror" ] || die "engine $1 is wanted, but apt has no source of Debian's packages to take it from"
  say "engine $1 from Debian's $suite"
  mkdir -p "$CACHE"
  work=$(mktemp -d "$CACHE/engine.XXXXXX")
  mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial" "$work/root"
  printf 'deb [signed-by=%s] %s %s main\n' /usr/share/keyrings/debian-archive-keyring.gpg "$mirror" "$suite" >"$work/apt/sources.list"
  printf '%s\n' "Dir::State \"$work/apt\";" 'Dir::State::status "/dev/null";' "Dir::Cache \"$work/apt/cache\";" \
    "Dir::Etc::sourcelist \"$work/apt/sources.list\";" 'Dir::Etc::sourceparts "-";' 'APT::Sandbox::User "root";' >"$work/apt.conf"
  if ! apt_aside "$work" apt-get update -q=2 || ! (cd "$work" && apt_aside "$work" apt-get download -q=2 "docker.io=$1.*" containerd); then
    rm -rf "$work"
    die "engine $1 could not be downloaded from $mirror $suite (packages docker.io and containerd)"
  fi
  for package in "$work"/*.deb; do dpkg-deb -x "$package" "$work/root"; done
  # The machine's runc is used: that of a newer suite may want a newer C library.
  rm -rf "$work/root/usr/sbin/runc" "$work/root/usr/bin/runc" "$folder"
  mv "$work/root" "$folder"
  rm -rf "$work"
}
