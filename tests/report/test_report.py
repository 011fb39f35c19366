import base64
import io
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from avocado import __version__
from avocado.evaluation.scores import AVERAGE, read_scores, score_table, write_scores
from avocado.plotting.style import COLORS, OTHER_COLORS, SHAPES, contrast, on_dark
from avocado.report.panels import Locus
from avocado.report.report import (
    MEANINGS,
    MEASURES,
    Picture,
    Report,
    Table,
    assay_means,
    csv_link,
    direction,
    render,
    write_report,
)

NASTY = "</script><script>alert('1')</script>\"&{{ 7 * 7 }}"


class Page(HTMLParser):
    """What a browser would make of the page: tags with their attributes, tables of static text, scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.tables, self.scripts, self.words = [], [], [], []
        self._inside = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "wbr":  # where a long word may break
            return
        self.tags.append((tag, attributes))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append(["", attributes])
        elif tag == "script":
            self.scripts.append((attributes, ""))
        self._inside = tag if tag in ("td", "th", "button", "script", "style") else None

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside in ("td", "th", "button") and self.tables and self.tables[-1] and self.tables[-1][-1]:
            self.tables[-1][-1][-1][0] += data.strip()
        elif self._inside == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif self._inside != "style":
            self.words.append(data)

    def data(self, name="data"):
        (text,) = [text for attributes, text in self.scripts if attributes.get("id") == name]
        return json.loads(text)

    def table(self, number):
        """Texts, and the coordinates of bold fields."""
        rows = self.tables[number]
        bold = {
            (i - 1, j)
            for i, row in enumerate(rows)
            for j, (_, attributes) in enumerate(row)
            if "best" in (attributes.get("class") or "").split()
        }
        return [[text for text, _ in row] for row in rows], bold


def scores(methods=("Avocado", AVERAGE, "nearest"), cells=("E1", "E2"), assays=("DNase", "H3K4me3")):
    """Avocado has the least error and nearest the most."""
    rng = np.random.default_rng(0)
    observed = {(c, a): rng.gamma(1, 1, 300) for c in cells for a in assays}
    width = {AVERAGE: 0.3, methods[0]: 0.1, methods[-1]: 0.8}
    return score_table(
        observed, {m: {t: s + rng.normal(0, width[m], 300) for t, s in observed.items()} for m in methods}
    )


def locus(**changes):
    rng = np.random.default_rng(1)
    signals = {m: rng.gamma(1, 1, 40).astype(np.float32) for m in ("Avocado", "observed", AVERAGE)}
    return Locus(**{"chrom": "chr7", "start": 1_000_025, "rows": {"E1 DNase": signals}, "why": "they differ"} | changes)


def report(table=None, **parts):
    table = scores() if table is None else table
    return Report(**{"title": "A title", "date": "2026-01-31", "summary": {"store": "x"}, "scores": table} | parts)


def decoded(uri):
    kind, text = uri.split(",", 1)
    assert kind == "data:text/csv;charset=utf-8;base64"
    return pd.read_csv(io.BytesIO(base64.b64decode(text)), keep_default_na=False)


def test_nothing_is_loaded_from_elsewhere(tmp_path):
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1])
    table = Table("Times", pd.DataFrame({"method": ["a"], "s": [1.5]}))
    write_report(
        tmp_path / "r.html",
        report(tables=[table], loci=[locus()], figures=[Picture("All scores", figure, "What is seen")]),
    )
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    page = Page(text)
    targets = [v for _, a in page.tags for name, v in a.items() if name in ("src", "href", "srcset", "action", "data")]
    assert sum(target.startswith("data:image/png;base64,") for target in targets) == 1
    assert all(target.startswith(("#", "data:")) for target in targets)
    assert {tag for tag, _ in page.tags}.isdisjoint({"link", "iframe", "object", "embed", "base"})
    assert "@import" not in text
    assert "url(" not in text
    # and a browser is told to refuse it
    policy = [a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"]
    names = {a["id"] for _, a in page.tags if "id" in a}
    assert {target[1:] for target in targets if target.startswith("#")} <= names


def test_broad_pictures_are_scrolled_on_a_phone():
    broad, tall = Figure(figsize=(3, 1)), Figure(figsize=(1, 1))
    page = Page(render(report(figures=[Picture("broad", broad), Picture("tall", tall)])))
    assert {a["alt"]: a.get("class") for tag, a in page.tags if tag == "img"} == {"broad": "broad", "tall": None}


def test_the_header_says_what_when_and_by_which_version():
    words = " ".join(Page(render(report(summary={"compared": "a, b", "store": "pilot of hg19"}))).words)
    for expected in ("A title", "2026-01-31", f"avocado {__version__}", "compared", "a, b", "pilot of hg19"):
        assert expected in words


def test_every_name_is_escaped():
    table = scores(methods=(NASTY, AVERAGE, "nearest"), cells=(NASTY, "E2"), assays=("H3<K4>", "b'\""))
    plain = Page(render(report(loci=[locus()], tables=[Table("t", pd.DataFrame({"a": ["long " * 9]}), "n")])))
    text = render(
        report(
            table,
            title=NASTY,
            date=NASTY,
            summary={NASTY: NASTY},
            tables=[Table(NASTY, pd.DataFrame({NASTY: [NASTY]}), NASTY)],
            loci=[locus(chrom=NASTY, why=NASTY, rows={NASTY: {NASTY: np.ones(3), "observed": np.ones(3)}})],
        )
    )
    page = Page(text)
    assert [tag for tag, _ in page.tags].count("script") == 3
    known = {(tag, tuple(sorted(attributes))) for tag, attributes in plain.tags}
    assert {(tag, tuple(sorted(attributes))) for tag, attributes in page.tags} <= known
    assert "49" not in "".join(page.words)
    # nothing is lost either
    assert page.data()["tracks"]["rows"][0] == [NASTY, "H3<K4>"]
    assert page.data()["methods"] == [AVERAGE, NASTY, "nearest"]
    assert page.data("colors") == [AVERAGE, NASTY, "nearest"]
    assert page.data()["loci"][0]["tracks"][0]["label"] == NASTY
    assert page.data()["loci"][0]["why"] == NASTY
    assert page.table(0)[0][2][0] == NASTY
    assert page.tables[-1][1][0][0] == page.tables[-1][0][0][0] == NASTY
    assert "".join(page.words).count(NASTY) >= 7


def test_means_begin_with_average_activity_and_the_best_is_bold():
    table = scores()
    rows, bold = Page(render(report(table))).table(0)
    assert rows[0][:5] == ["method", "MSE", "skill", "tracks won", "MSE1obs"]
    assert [row[0] for row in rows[1:]] == [AVERAGE, "Avocado", "nearest"]
    assert [row[3] for row in rows[1:]] == ["–", "4", "0"]
    means = table[table["assay"] == "all"].set_index("method")
    assert [row[1] for row in rows[1:]] == [f"{means['mse'][m]:.4f}" for m in (AVERAGE, "Avocado", "nearest")]
    assert rows[3][2].startswith("−")
    assert {j for i, j in bold if i == 1} >= {rows[0].index(m) for m in ("MSE", "skill", "tracks won", "Pearson")}
    assert "bins" not in rows[0]
    columns = {text: a.get("data-better") for text, a in Page(render(report(table))).tables[0][0]}
    assert columns["method"] is None
    assert columns["MSE1imp"] == "lower"
    assert columns["Spearman"] == columns["tracks won"] == "higher"


def test_every_measure_is_explained():
    assert set(MEANINGS) == {*MEASURES, "skill"}
    words = " ".join(Page(render(report())).words)
    for measure in ("mse", "skill", "mse_1obs", "pearson"):
        assert MEANINGS[measure] in words


def test_direction():
    assert [direction(m) for m in ("mse_1obs", "catch_peak_obs", "auc_imp1", "match1", "frobs")] == [
        "lower", "higher", "higher", "higher", None,
    ]  # fmt: skip


def test_takes_whatever_numeric_measures_there_are(tmp_path):
    table = scores().drop(columns=["spearman", "skill"])
    table["frobs"] = np.arange(len(table)) / 4
    table["comment"] = "no measure"
    page = Page(render(report(table)))
    titles = [measure["title"] for measure in page.data()["measures"]]
    assert titles[0] == "MSE"
    assert "frobs" in titles
    assert "Spearman" not in titles
    assert "comment" not in titles
    rows, bold = page.table(0)
    assert not {j for _, j in bold} & {rows[0].index("frobs")}
    write_scores(scores(), tmp_path)
    assert render(report(read_scores(tmp_path))) == render(report(scores()))


def test_scores_by_track_and_assay_are_embedded_and_undefined_ones_are_null():
    table = scores()
    table.loc[(table["method"] == "nearest") & table["assay"].isin(["DNase", "all"]), "pearson"] = np.nan
    table.loc[3, "skill"] = -np.inf  # the second track's Avocado
    data = Page(render(report(table))).data()
    assert data["tracks"]["rows"] == [["E1", "DNase"], ["E1", "H3K4me3"], ["E2", "DNase"], ["E2", "H3K4me3"]]
    measures = [measure["title"] for measure in data["measures"]]
    values = data["tracks"]["values"][measures.index("MSE")]
    chosen = table[(table["method"] == "Avocado") & (table["cell"] != "mean")]["mse"]
    assert values[data["methods"].index("Avocado")] == pytest.approx(list(chosen), rel=1e-4)
    pearson = data["tracks"]["values"][measures.index("Pearson")][data["methods"].index("nearest")]
    assert [value is None for value in pearson] == [True, False, True, False]
    assert data["tracks"]["values"][measures.index("skill")][data["methods"].index("Avocado")][1] is None
    assert data["assays"]["rows"] == [["DNase", 2], ["H3K4me3", 2]]
    by_assay = data["assays"]["values"][measures.index("Pearson")][data["methods"].index("nearest")]
    assert by_assay == [None, pytest.approx(np.mean([pearson[1], pearson[3]]), rel=1e-4)]
    assert data["means"][measures.index("Pearson")][data["methods"].index("nearest")] is None


def test_assay_means():
    table = scores()
    means = assay_means(table)
    assert list(means.columns[:3]) == ["assay", "tracks", "method"]
    row = means[(means["assay"] == "H3K4me3") & (means["method"] == "nearest")].iloc[0]
    tracks = table[(table["assay"] == "H3K4me3") & (table["cell"] != "mean")].set_index("method")
    assert row["mse"] == pytest.approx(tracks["mse"]["nearest"].mean())
    assert row["skill"] == pytest.approx(1 - tracks["mse"]["nearest"].mean() / tracks["mse"][AVERAGE].mean())
    assert (means[means["method"] == AVERAGE]["skill"] == 0).all()


def test_csv_links_hold_the_tables():
    table, names = scores(), pd.DataFrame({"a": ['x,"y"', "é\nz"], "p": [1.23456789e-7, 2.0]})
    assert decoded(csv_link(names)).to_dict("list") == {"a": ['x,"y"', "é\nz"], "p": [1.23457e-7, 2.0]}
    page = Page(render(report(table, tables=[Table("Names", names)])))
    links = {a["download"]: a["href"] for tag, a in page.tags if tag == "a" and "download" in a}
    assert list(links) == ["means.csv", "assays.csv", "tracks.csv", "Names.csv"]
    assert decoded(links["tracks.csv"])["mse"].to_numpy() == pytest.approx(
        table[table["cell"] != "mean"]["mse"].to_numpy(), rel=1e-5
    )
    assert len(decoded(links["assays.csv"])) == 6
    assert list(decoded(links["means.csv"])["method"]) == [AVERAGE, "Avocado", "nearest"]


def test_tables_format_align_and_mark_the_best_of_each_group():
    frame = pd.DataFrame(
        {
            "stratum": ["a", "a", "b", "b", "c"],
            "mse": [0.25, 0.5, 3.0, 2.0, np.nan],
            "tracks": [1234, 5, 6, 7, 8],
            "p": [0.5, 0.00002, 0.0, 1.0, 0.25],
            "seconds": [1234.0, 0.3, -np.inf, np.inf, np.nan],
            "clear": [True, False, True, True, False],
            "few": pd.array([1, None, 3, 4, 5], dtype="Int64"),
        },
        index=[4, 4, 4, 4, 4],
    )
    table = Table("T", frame, "A note", {"mse": "lower", "tracks": "higher"}, within=("stratum",))
    page = Page(render(report(tables=[table])))
    rows, bold = page.table(-1)
    assert [list(column) for column in zip(*rows[1:], strict=True)] == [
        ["a", "a", "b", "b", "c"],
        ["0.250", "0.500", "3.000", "2.000", "–"],
        ["1,234", "5", "6", "7", "8"],
        ["0.500", "2.0e−05", "0.000", "1.000", "0.250"],
        ["1,234.0", "0.3", "−∞", "∞", "–"],
        ["yes", "no", "yes", "yes", "no"],
        ["1", "–", "3", "4", "5"],
    ]
    assert bold == {(0, 1), (3, 1), (0, 2), (3, 2)}  # the only row of stratum c has none to compare with
    keys = [[attributes.get("data-v") for _, attributes in row] for row in page.tables[-1][1:]]
    assert [row[4] for row in keys] == ["1234", "0.3", "-Infinity", "Infinity", ""]
    assert keys[1][3] == "2e-05"
    assert keys[0][0] is None
    assert "A note" in " ".join(page.words)


def test_signals_of_a_locus_survive_with_average_activity_behind_the_observed():
    given = locus()
    given.rows["E1 DNase"]["Avocado"][:] = 0
    given.rows["E1 DNase"]["observed"][3] = -7.5
    (data,) = Page(render(report(loci=[given]))).data()["loci"]
    assert (data["chrom"], data["start"], data["bins"], data["why"]) == ("chr7", 1_000_025, 40, "they differ")
    (track,) = data["tracks"]
    assert [row["name"] for row in track["rows"]] == ["observed", AVERAGE, "Avocado"]
    for row in track["rows"]:
        signal = np.frombuffer(base64.b64decode(row["signal"]), dtype="<i2") * row["unit"]
        assert signal == pytest.approx(given.rows["E1 DNase"][row["name"]], abs=7.5 / 65_534 + 1e-6)
    assert 'id="loci"' not in render(report())


def test_a_report_of_a_thousand_tracks_stays_small(tmp_path):
    names = ["mse", *(f"mse_{i}" for i in range(15)), "skill"]
    tracks = [(f"E{i:03d}", f"assay{j}") for i in range(43) for j in range(24)]
    pairs = pd.DataFrame([(c, a, m) for c, a in [*tracks, ("mean", "all")] for m in (AVERAGE, "b", "c", "d", "e")])
    pairs.columns = pd.Index(["cell", "assay", "method"])
    table = pairs.join(pd.DataFrame(np.random.default_rng(0).random((len(pairs), len(names))), columns=pd.Index(names)))
    signals = {m: np.linspace(0, 5, 4000) for m in ("observed", AVERAGE, "b", "c", "d", "e")}
    places = [locus(rows={f"E{i} DNase": signals for i in range(3)})] * 8
    write_report(tmp_path / "r.html", report(table, loci=places))
    assert (tmp_path / "r.html").stat().st_size < 5e6


def test_colours_and_shapes_are_those_of_the_plots():
    text = render(report(scores(methods=("Avocado", AVERAGE, "nearest"))))
    chosen = [COLORS[AVERAGE], COLORS["Avocado"], OTHER_COLORS[0]]
    lines = [line.strip() for line in text.splitlines()]
    written = [line for line in lines if line.startswith("--c")]
    assert written == [f"--c{i}: {c};" for i, c in [*enumerate(chosen), *enumerate(map(on_dark, chosen))]]
    assert Page(text).data()["shapes"] == [SHAPES[marker] for marker in ("D", "o", "s")]


def test_every_colour_of_the_page_can_be_seen_in_the_light_and_in_the_dark():
    many = ("Avocado", AVERAGE, *(f"m{i}" for i in range(len(OTHER_COLORS))))
    style = render(report(scores(methods=many[:2]), loci=[locus(rows={"E1 DNase": dict.fromkeys(many, np.ones(3))})]))
    light, dark = style.split("prefers-color-scheme: dark")[:2]
    for part in (light, dark[: dark.index("}")]):
        found = dict(re.findall(r"--([\w]+): (#[0-9a-f]{3,6});", part))
        found = {n: c if len(c) == 7 else "#" + "".join(2 * digit for digit in c[1:]) for n, c in found.items()}
        drawn = {name: color for name, color in found.items() if name not in ("paper", "band", "line")}
        assert len(drawn) == len(many) + 4  # ink, muted, accent, observed
        for paper in ("paper", "band"):
            low = {name: c for name, c in drawn.items() if contrast(c, found[paper]) < (2.8 if part is light else 3)}
            assert low == {}
            assert part is not light or all(contrast(c, found["paper"]) >= 3 for c in drawn.values())


def test_every_table_has_a_caption_and_says_where_it_is_cut():
    table = Table("Times", pd.DataFrame({"method": ["a"], "longNameOf1Thing": [1.5]}), "How long it took")
    text = render(report(tables=[table, Table("Others", pd.DataFrame({"a": ["b"]}))]))
    tables = re.findall(r"<table.*?</table>", text, re.DOTALL)
    captions = [re.search(r"<caption>(.+?)</caption>", its) for its in tables]
    assert len(captions) == 5
    assert all(captions)
    assert [its[1] for its in captions if its][-2:] == ["How long it took", "Others"]
    assert "long<wbr>Name<wbr>Of1Thing" in text
    assert text.count('<div class="scroll" tabindex="0"') == 5


def test_a_report_without_scores_of_tracks_has_the_rest():
    table = Table("Others", pd.DataFrame({"a": ["b"]}))
    page = render(Report("Split", "today", {"examples": "7"}, None, [table], verdict="All well."))
    assert "All well." in page
    assert re.findall(r'href="#(\w+)"', page) == re.findall(r'section id="(\w+)"', page) == ["table1"]
    assert "average activity" not in page


def test_refuses_what_it_cannot_show_and_leaves_nothing_behind(tmp_path):
    table = scores()
    for message, bad in {
        "lack 'average activity'": report(table[table["method"] != AVERAGE]),
        "E1 DNase .* are there twice": report(pd.concat([table.iloc[[1]], table])),
        r"signals of the lengths \[2, 3\]": report(loci=[locus(rows={"a": {"observed": np.ones(2), "b": np.ones(3)}})]),
        "Figure or the bytes of a PNG": report(figures=[Picture("x", b"<svg>")]),
    }.items():
        with pytest.raises(ValueError, match=message):
            write_report(tmp_path / "r.html", bad)
    assert list(tmp_path.iterdir()) == []


def test_importing_it_is_cheap():
    program = (
        "import sys, avocado.report.report; "
        "print([m for m in ('matplotlib', 'jinja2', 'torch', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(shutil.which("node") is None, reason="the syntax of the page's script is checked with node")
def test_the_script_parses(tmp_path):
    page = Page(render(report(loci=[locus()])))
    (script,) = [text for attributes, text in page.scripts if not attributes]
    assert "{%" not in script
    (tmp_path / "page.js").write_text(script, encoding="utf-8")
    done = subprocess.run(["node", "--check", str(tmp_path / "page.js")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
