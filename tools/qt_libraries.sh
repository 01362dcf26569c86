#!/bin/sh
# Make sure that Qt, in the environment's Python ($1), finds its system libraries: nothing to do on macOS
# and Windows, whose packages bring all; on Debian and Ubuntu they are installed (as root) or named.
set -u
packages="libegl1 libgl1 libxkbcommon0 libdbus-1-3 libfontconfig1 libglib2.0-0"
works() { QT_QPA_PLATFORM=offscreen "$1" -c "from qtpy import QtWidgets; QtWidgets.QApplication([])" 2>&1; }

message=$(works "$1") && exit 0
line="apt-get install -y --no-install-recommends $packages"
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    echo "Installing the system libraries of Qt: $line"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive $line -qq; } >/dev/null || exit 1
    message=$(works "$1") && exit 0
    echo "make: Qt does not start, even with its system libraries: $message" >&2
else
    echo "make: Qt does not start, as system libraries are missing: $message" >&2
    echo "make: on Debian and Ubuntu this line installs them, then run make again: sudo $line" >&2
fi
exit 1
