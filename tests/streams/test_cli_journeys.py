"""`themes` proposes a catalogue that `journeys` and `replay` take; `journeys` tells, judges, and says what to do."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from intents.catalog import Catalogue
from streams.cli import cli
from tests.streams.test_cli_replay import _replay

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
PARTY = ("PARTY BUNTING", "RED PARTY HATS", "PARTY PLATES")
KITCHEN = ("KITCHEN SCALES", "BLUE KITCHEN TIMER", "KITCHEN SPOON")
GARDEN = ("GARDEN FORK", "GARDEN SEEDS", "GREEN GARDEN HOSE")


def run(*arguments: str | Path) -> Result:
    """Run a command."""
    return CliRunner().invoke(cli, [str(each) for each in arguments])


@pytest.fixture
def retail(tmp_path: Path) -> Path:
    """Customers who buy for a party, then for the kitchen or the garden; some have no number."""
    lines = [HEADER]
    for customer in range(60):
        path = (PARTY, KITCHEN, GARDEN) if customer % 2 else (KITCHEN, GARDEN, PARTY)
        for month, names in enumerate(path if customer % 5 else path[::-1], 1):
            day = f"2011-0{month}-{customer % 28 + 1:02d} 10:00:00"
            who = f"{customer}.0" if customer % 7 else ""
            lines += [f"{customer}{month},{name[::-1]},{name},1,{day},2.5,{who},Eire" for name in names]
    path_of = tmp_path / "retail.csv"
    path_of.write_text("\n".join(lines))
    return path_of


@pytest.fixture
def catalogue(retail: Path) -> Path:
    """What `themes` proposes for it."""
    done = run("themes", retail, "--products", "3", "--customers", "5")
    assert done.exit_code == 0, done.output
    path = retail.with_name("themes.toml")
    path.write_text(done.stdout)
    return path


def test_themes_are_a_catalogue(retail: Path, catalogue: Path) -> None:
    """What is proposed can be loaded, catches something in its recording, and says how it was made."""
    text = catalogue.read_text()
    assert text.startswith("# Proposed by: micro-intents themes retail.csv --most 60 --products 3 --customers 5")
    assert [rule.intent for rule in Catalogue.parse(text).rules] == ["garden", "kitchen", "party"]
    assert "# Rows left out: 81 (no CustomerID)" in text
    assert "# 3 products, 51 customers; together " in text and 'label = "Party"\nname = ["party"]' in text
    assert "caught nothing" not in _replay(retail, "--catalog", catalogue).stderr


def test_journeys_are_told(retail: Path, catalogue: Path) -> None:
    """Transitions, declared steps with their place, journeys in words, and judged lists."""
    catalogue.write_text(catalogue.read_text() + '[journey.year]\nstages = ["party", "kitchen"]\n')
    done = run("journeys", retail, "--catalog", catalogue, "--min-customers", "5", "--hold-back", "0.3")
    assert done.exit_code == 0, done.output
    assert "retail.csv: UCI Online Retail CSV, 153 baskets to 3 subjects of 51 customers" in done.output
    assert done.output.endswith("rows left out: 81 (no CustomerID)\n")
    assert re.search(r"│ year +│ Party +│ Kitchen .* 1 of 2 │", done.output)
    assert re.search(r"\d\. Kitchen, then Garden \(in \d+% of the next baskets, .* then Party \(in", done.output)
    assert re.search(r"^next, new to the customer: \d+ of \d+ customers$", done.output, re.MULTILINE)
    assert re.search(r"│ hit@1 +│ 0\.\d{3} \[0\.\d{3}, ", done.output)


def test_json(retail: Path, catalogue: Path) -> None:
    """The same as one object; without a held-back end nothing is judged."""
    asked = ("journeys", retail, "--catalog", catalogue, "--min-customers", "5", "--json")
    found = json.loads(run(*asked).stdout)
    assert (found["baskets"], found["customers"], found["outcome"]) == (True, 51, [])
    assert found["left_out"] == {"no CustomerID": 81}
    assert {judged["what"] for judged in found["judged"]} == {"next, new to the customer", "next, all"}
    first = found["next"][0]
    assert first["lift_low"] <= first["lift"] <= first["lift_high"] and first["customers"] >= 5
    assert json.loads(run(*asked, "--hold-back", "0").stdout)["judged"] == []
    assert json.loads(run(*asked, "--most", "1", "--chains", "0").stdout)["chains"] == []


def test_rules_that_catch_nothing_are_named(retail: Path, catalogue: Path) -> None:
    """A rule that no product of the recording meets is told with its line, as in a replay; the others are not."""
    lines = catalogue.read_text().count("\n")
    catalogue.write_text(catalogue.read_text() + '[intent.odd]\nname = "partty"\n')
    done = run("journeys", retail, "--catalog", catalogue, "--min-customers", "5")
    assert done.stderr == f"{catalogue}:{lines + 1}: [intent.odd] caught nothing in this recording\n"


def test_a_clickstream(tmp_path: Path) -> None:
    """Visits instead of baskets, and outcomes apart; what cannot be said is null in JSON and – in the table."""
    events = [
        {"event_id": f"{c}{n}", "customer_id": f"c{c}", "kind": kind, "time": c * 1000 + n, "category": category}
        for c in range(20)
        for n, (kind, category) in enumerate((("view", "tea"), ("view", "cake"), ("cart_add", "cake"), ("view", "tin")))
    ]
    path = tmp_path / "day.jsonl"
    path.write_text("\n".join(map(json.dumps, events)))
    done = run("journeys", path, "--min-customers", "5")
    assert "60 visits to 3 subjects of 20 customers" in done.output
    assert re.search(r"what is carted or bought next: after.*\n.*\n│ tea +│ cake +│ +20 │ +20 │ +1\.000 │", done.output)
    assert re.search(r"next outcome, not even looked at: 0 of 0 customers\n(.*\n)+?│ hit@1 .* – │", done.output)
    found = json.loads(run("journeys", path, "--json").stdout)
    (direct,) = (each for each in found["judged"] if each["what"] == "next outcome, not even looked at")
    assert direct["numbers"]["mrr"]["popular"]["value"] is None


def test_without_subjects_it_says_what_to_do(retail: Path) -> None:
    """Products with names but without categories: themes first."""
    done = run("journeys", retail)
    assert done.exit_code == 1
    assert "no event has a subject" in done.stderr and "micro-intents themes" in done.stderr


def test_without_names_it_says_so(tmp_path: Path, retail: Path) -> None:
    """No names, or no words that many share: one line that says what to try."""
    path = tmp_path / "day.jsonl"
    path.write_text('{"event_id":"1","customer_id":"c","kind":"view","time":1,"category":"tea"}\n')
    done = run("themes", path)
    assert done.exit_code == 1 and "no product has a name" in done.stderr
    done = run("themes", retail)
    assert done.exit_code == 1 and "try fewer --products or --customers" in done.stderr


def test_no_recording(tmp_path: Path) -> None:
    """Both refuse what is no recording, with what is known."""
    path = tmp_path / "file"
    path.write_text("a,b\n1,2\n")
    for command in ("themes", "journeys"):
        done = run(command, path)
        assert done.exit_code == 1 and "UCI Online Retail CSV" in done.stderr and "Traceback" not in done.output


def test_journeys_of_online_retail(recordings: Path, tmp_path: Path) -> None:
    """Themes and journeys of before the held-back invoices beat the most popular themes; the document has the same."""
    path, catalogue = recordings / "online_retail.csv.gz", tmp_path / "themes.toml"
    catalogue.write_text(run("themes", path, "--hold-back", "0.2").stdout)
    found = json.loads(run("journeys", path, "--catalog", catalogue, "--json").stdout)
    assert {"party", "christmas", "kitchen", "garden", "birthday", "cake", "bag"} & {
        rule.intent for rule in Catalogue.load(catalogue).rules
    } >= {"party", "christmas", "garden", "birthday", "cake", "bag"}
    assert len(found["chains"]) == 10
    label = Catalogue.load(catalogue).label
    told = (Path(__file__).parents[2] / "docs" / "journeys.md").read_text()
    for number, chain in enumerate(found["chains"], 1):
        steps = [
            f"then {label(s['target'])} ({s['confidence'] * 100:.0f} %, {s['lift']:.2f}, {s['customers']})"
            for s in chain["steps"]
        ]
        assert f"{number}. " + ", ".join([label(chain["stages"][0]), *steps]) in told
    (new, *_) = found["judged"]
    mrr = [f"{measured['value']:.3f}"[1:] for measured in new["numbers"]["mrr"].values()]
    assert "| MRR | " + " | ".join(mrr) in told
    for judged in found["judged"]:
        assert judged["gain"]["mrr"]["low"] > 0 and judged["gain"]["hit@10"]["low"] > 0


def test_journeys_of_taobao(recordings: Path) -> None:
    """Of what is carted unseen, the list has the tenth that was asked of it, and more than the popular ones."""
    done = run("journeys", recordings / "taobao_user_behavior.csv.gz", "--json")
    judged = {each["what"]: each for each in json.loads(done.stdout)["judged"]}
    assert judged["next outcome, not even looked at"]["numbers"]["hit@10"]["journeys"]["value"] >= 0.13
    told = (Path(__file__).parents[2] / "docs" / "journeys.md").read_text()
    for each in judged.values():
        assert each["gain"]["mrr"]["low"] > 0
        if "outcome, all" not in each["what"]:
            mrr = [f"{measured['value']:.3f}"[1:] for measured in each["numbers"]["mrr"].values()]
            assert "| MRR | " + " | ".join(mrr) in told
