"""The pages of `reports/validation/`: one that a person opens, and Great Expectations' own, made self-contained."""

import html
import re
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd

from selfie_localizer.validation import pictures

EXAMPLES = 5

# Great Expectations' pages load Bootstrap and Font Awesome from the internet; this is what they need of both.
GX_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #24292f; margin: 0 auto; max-width: 1200px; padding: 24px; }
h4 { margin: 0; font-size: 22px; } h5 { margin: 0; font-size: 16px; } h6, .h6 { margin: 0; font-weight: 600; }
a { color: #0a5cc2; } p { margin: 4px 0; } .row { display: block; } .ge-section { margin-bottom: 20px; }
.alert { background: #eef2f6; border-radius: 6px; padding: 8px 12px; margin-bottom: 8px; }
.breadcrumb { list-style: none; display: flex; gap: 12px; padding: 0; margin: 0 0 16px; color: #57606a; }
.sticky, [data-toggle=collapse], .collapse, .navbar-brand, thead[hidden] { display: none; }
table { border-collapse: collapse; margin: 4px 0 8px; } th, td { text-align: left; vertical-align: top; }
th { color: #57606a; font-weight: 600; } th, td { padding: 4px 14px 4px 4px; border-top: 1px solid #d8dee4; }
td:last-child { overflow-wrap: anywhere; }
td:first-child { white-space: nowrap; }
.badge { background: #e3e9ef; border-radius: 4px; padding: 1px 6px; font-family: ui-monospace, monospace; }
.fa-check-circle::before, .fa-check::before { content: "\\2713"; color: #1a7f37; font: bold 17px sans-serif; }
.fa-times::before, .fa-exclamation-triangle::before { content: "\\2717"; color: #cf222e; font: bold 17px sans-serif; }
ul { padding-left: 20px; margin: 4px 0; }
"""

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Validation</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #24292f; margin: 0 auto; max-width: 1200px; padding: 24px; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 36px 0 8px; }
p { margin: 4px 0 12px; color: #57606a; } a { color: #0a5cc2; } img { max-width: 100%; display: block; }
.figures { display: flex; flex-wrap: wrap; gap: 12px; margin: 16px 0; }
.figure { background: #eef2f6; border-radius: 6px; padding: 10px 16px; flex: 1 1 0; min-width: 110px; }
.figure b { display: block; font-size: 22px; } .figure span { color: #57606a; }
.verdict { font-weight: 600; } .passed { color: #1a7f37; } .stopped { color: #cf222e; }
table { border-collapse: collapse; } th, td { text-align: left; padding: 5px 18px 5px 0; vertical-align: top; }
th, td { border-top: 1px solid #d8dee4; } th { color: #57606a; } td.number { text-align: right; }
td:last-child { overflow-wrap: anywhere; }
</style>
</head>
<body>
<h1>Validation of build/annotations.csv</h1>
<p><span class="verdict $state">$verdict</span></p>
<div class="figures">$figures</div>
<p>All rejected rows: <code>build/rejected.csv</code>. Great Expectations' own pages:
<a href="results.html">results of every rule</a>, <a href="suite.html">the suite</a>.</p>
<p><b>This is before the annotators were joined</b>: boxes, and how good they are, as each annotator drew them. What
came after, when they were moved to one convention and joined to one label for each image:
<a href="../label.json">how good annotators and labels are</a> where there is truth,
<a href="../label/suspicious.csv">the labels that a person should look at first</a>, and
<a href="../label/">pictures of them</a>.</p>
<h2>Annotators</h2>
<table>
<tr><th>annotator</th><th>asked about</th><th>saw nothing</th><th>rejected</th></tr>
$annotators
</table>
<h2>Rules</h2>
<table>
<tr><th>rule</th><th>what it asks for</th><th>rows that break it</th><th>examples: row, image, value</th></tr>
$rules
</table>
$pictures
</body>
</html>
""")


def write_docs(
    folder: Path,
    site: Path,
    images: Path,
    report: dict[str, Any],
    rules: dict[str, str],
    frame: pd.DataFrame,
    rejected: pd.DataFrame,
) -> None:
    """Writes `index.html`, its pictures, and Great Expectations' pages `results.html` and `suite.html`.

    Args:
        folder: A new folder for the pages.
        site: Data docs as Great Expectations builds them.
        images: Where the images lie; only those in the pictures are read.
        report: The content of `reports/validation.json`.
        rules: What each rule asks for.
        frame: All rows, as `validate.derive` returned them.
        rejected: Columns `row`, `image`, `rule` and `value`.
    """
    folder.mkdir()
    (results,) = site.glob("validations/**/*.html")
    (suite,) = site.glob("expectations/*.html")
    for name, page in (("results.html", results), ("suite.html", suite)):
        (folder / name).write_text(self_contained(page.read_text(encoding="utf-8")), encoding="utf-8")
    drawn = pictures.draw(folder, images, frame, rejected)
    (folder / "index.html").write_text(_index(report, rules, rejected, drawn), encoding="utf-8")


def self_contained(page: str) -> str:
    """Takes out of a page of Great Expectations what a browser would fetch or run, and styles it anew.

    The pages that it links are `suite.html` and `index.html` beside it. The policy in the head keeps a browser from
    loading anything even where a value in the table is made to look like a tag.
    """
    for tag in ("script", "style", "footer"):
        page = re.sub(rf"<{tag}\b.*?</{tag}>", "", page, flags=re.DOTALL | re.IGNORECASE)
    page = re.sub(r"<(link|img)\b[^>]*>", "", page, flags=re.IGNORECASE)
    page = re.sub(r'href="[^"#]*expectations/[^"]*\.html"', 'href="suite.html"', page)
    page = re.sub(r'href="[^"#]*index\.html"', 'href="index.html"', page)
    page = re.sub(r">\s*Index\s*</th>", ">Row</th>", page).replace("Data asset: None", "Data: build/annotations.csv")
    policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    page = page.replace("<head>", f"<head>\n{policy}", 1).replace("</head>", f"<style>{GX_STYLE}</style>\n</head>", 1)
    return re.sub(r"\n\s*\n+", "\n", page)


def _index(report: dict[str, Any], rules: dict[str, str], rejected: pd.DataFrame, drawn: list[pictures.Picture]) -> str:
    figures = [
        (f"{report['rows']:,}", "boxes"),
        (f"{report['accepted']:,}", "accepted"),
        (f"{report['rejected']:,}", f"rejected ({report['rejected_share']:.1%})"),
        (f"{report['near_duplicate_pairs']:,}", "near-duplicate pairs"),
    ]
    if report["copies"]:
        figures.append((f"{report['copies']:,}", "dropped: copies of other images"))
    verdict = "Passed" if report["passed"] else "Stopped: more rows are rejected than validate.max_rejected allows"
    return PAGE.substitute(
        state="passed" if report["passed"] else "stopped",
        verdict=verdict,
        figures="".join(
            f'<div class="figure"><b>{value}</b><span>{html.escape(label)}</span></div>' for value, label in figures
        ),
        rules="\n".join(_rule_row(rule, rules[rule], count, rejected) for rule, count in report["rules"].items()),
        annotators="\n".join(
            f"<tr><td>{html.escape(name)}</td>"
            + "".join(f'<td class="number">{found[key]:,}</td>' for key in ("rows", "saw_nothing", "rejected"))
            + "</tr>"
            for name, found in report["annotators"].items()
        ),
        pictures="\n".join(
            f"<h2>{html.escape(picture.title)}</h2>\n<p>{html.escape(picture.caption)}</p>\n"
            f'<img src="{picture.file}" alt="{html.escape(picture.title)}">'
            for picture in drawn
        ),
    )


def _rule_row(rule: str, meaning: str, count: int, rejected: pd.DataFrame) -> str:
    examples = rejected[rejected["rule"] == rule].head(EXAMPLES)
    lines = [html.escape(f"{row}, {image}, {value}") for row, image, _, value in examples.itertuples(index=False)]
    cells = [f"<td>{rule}</td>", f"<td>{html.escape(meaning)}</td>", f'<td class="number">{count:,}</td>']
    return f"<tr>{''.join(cells)}<td>{'<br>'.join(lines)}</td></tr>"
