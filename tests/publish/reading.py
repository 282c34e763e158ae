"""Where the built book is."""

from idinvert.study.run import ROOT

HTML = ROOT / "build" / "book" / "_build" / "html"
