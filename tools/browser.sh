#!/bin/sh
# Make sure that there is a browser for the tests of the report: Chromium with its driver. On Debian it is installed
# (as root) or named; without one those tests are skipped, so nothing fails here.
set -u
line="apt-get install -y --no-install-recommends chromium chromium-driver fonts-dejavu-core"
driver() { command -v chromedriver >/dev/null; }

driver && exit 0
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    echo "Installing a browser for the tests of the report: $line"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive $line -qq; } >/dev/null 2>&1
    driver && exit 0
    echo "make: no Chromium could be installed; the tests that need a browser are skipped" >&2
else
    echo "make: no Chromium with its driver; the tests that need a browser are skipped. On Debian: sudo $line" >&2
fi
exit 0
