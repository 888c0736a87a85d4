"""What axe-core finds on the pages, in both themes."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from lr_retune.config import load_config
from lr_retune.lifetime import timeline
from lr_retune.report.page import decision_page
from lr_retune.review import case_of
from lr_retune.stores.promotion import Stores
from lr_retune.stores.status import past
from lr_retune.words import LAST_DAY
from tests.browser import CHROMIUM, drawn

AXE = Path(os.environ.get("AXE_PATH", "axe.min.js of nowhere"))
INSTALL = "npm install --prefix FOLDER axe-core@4.14.1; export AXE_PATH=FOLDER/node_modules/axe-core/axe.min.js"
THEMES = {"light": ("1", "rgb(255, 255, 255)"), "dark": ("0", "rgb(15, 19, 24)")}  # Blink's number, the page's colour
BAD = "/bad.html"
FRAMES = """<!doctype html><html lang="en"><title>frames</title><body><script>
(async () => {
  const told = {};
  for (const path of PATHS) {
    const frame = document.createElement("iframe");
    Object.assign(frame, {src: path, width: 1200, height: 900, title: path});
    const loaded = new Promise(done => frame.onload = done);
    document.body.append(frame);
    await loaded;
    const inside = frame.contentWindow, {violations, passes} = await inside.axe.run(inside.document);
    told[path] = {
      found: violations.map(v => ({id: v.id, impact: v.impact, at: v.nodes.map(n => n.html.slice(0, 200))})),
      passed: passes.map(v => v.id),
      color: inside.getComputedStyle(inside.document.documentElement).backgroundColor,
    };
    frame.remove();
  }
  const shown = document.createElement("pre");
  shown.id = "found";
  shown.textContent = JSON.stringify(told);
  document.body.append(shown);
})();
</script></body></html>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
@pytest.mark.skipif(not AXE.is_file(), reason=f"AXE_PATH names no axe-core: {INSTALL}")
@pytest.mark.parametrize("theme", THEMES)
def test_axe_finds_nothing_serious_on_any_page(theme: str, lived: Path, tmp_path: Path) -> None:
    number, color = THEMES[theme]
    pages = {f"/{name}.html": _probed(page) for name, page in _pages(lived).items()}
    pages[BAD] = b'<html><body><img src="data:,"><script src="/axe.js"></script></body></html>'
    frames = FRAMES.replace("PATHS", json.dumps(list(pages)))
    served = {"/frames.html": frames.encode(), **pages, "/axe.js": AXE.read_bytes()}
    options = (f"--blink-settings=preferredColorScheme={number}", "--virtual-time-budget=120000")
    dom, _, _ = drawn(tmp_path, served, *options)
    shown = re.search(r'<pre id="found">(.*?)</pre>', dom, flags=re.S)
    assert shown is not None, dom[-2000:]
    told: dict[str, Any] = json.loads(unescape(shown[1]))
    assert told.keys() == pages.keys()
    assert "image-alt" in {f["id"] for f in told.pop(BAD)["found"]}  # axe sees what there is to see
    for path, each in told.items():
        assert each["color"] == color, path
        assert "color-contrast" in each["passed"], path
        assert [f for f in each["found"] if f["impact"] in ("serious", "critical")] == [], path


def _pages(lived: Path) -> dict[str, bytes]:
    config = load_config(lived / "retune.toml", environ={})
    stores = Stores.open(config)
    (promoted,) = [case_of(config, stores, d["id"]) for d in past(stores, LAST_DAY) if d["outcome"] == "promoted"]
    fault = {"code": "all_null", "column": "a", "what": "a is empty", "fix": "mend it", "matters": True}
    held = {"outcome": "held", "decision": {**promoted.decision, "action": "fix_feed"}, "settled": None, "move": None}
    cases = {
        "promoted": promoted,
        "born": case_of(config, stores, stores.moves[0].id),
        "held": replace(promoted, **held, facts={**(promoted.facts or {}), "faults": [fault]}),
    }
    return {**{name: decision_page(case) for name, case in cases.items()}, "life": timeline(stores)}


def _probed(page: bytes) -> bytes:
    """With axe, and so without the policy that forbids every script."""
    bare = re.sub(rb'<meta http-equiv="Content-Security-Policy"[^>]*>', b"", page)
    assert bare != page
    return bare.replace(b"</body>", b'<script src="/axe.js"></script></body>')
