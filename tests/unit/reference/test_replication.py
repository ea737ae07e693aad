"""`compare` against runs that are made of the published figures themselves, then bent."""

import math
from typing import Any

import pandas as pd
import pytest

from layerwise import reference
from layerwise.reference import Finding, ModelComparison, compare
from layerwise.reference import published as pub

QWEN = "Qwen3-8B"
GEMMA = "gemma-2-9b"
FOUR = [QWEN, "Meta-Llama-3-8B", "Mistral-7B-v0.1", GEMMA]
LENS_FILES = {pub.DENSE, pub.SEED, pub.CANONICAL}


def token(text: str, prob: float) -> dict[str, Any]:
    return {"id": abs(hash(text)) % 1000, "text": text, "prob": prob, "logprob": math.log(max(prob, 1e-30))}


def tokens(rows: list[pub.Row]) -> list[dict[str, Any]]:
    return [token(row["token"], row["prob"]) for row in rows]


def question(name: str, prompt: str, output: list[dict[str, Any]], n_layers: int) -> dict[str, Any]:
    return {
        "model": name,
        "location": f"somebody/{name}",
        "n_layers": n_layers,
        "lens": "logit",
        "question": f"q-{prompt}",
        "role": "main",
        "prompt": prompt,
        "answer": " Berlin",
        "output": output,
        "temperatures": [],
    }


def layer(name: str, prompt: str, k: int, n_layers: int, top: list[dict[str, Any]], bits: float) -> dict[str, Any]:
    return {
        "model": name,
        "lens": "logit",
        "question": f"q-{prompt}",
        "layer": k,
        "depth": k / n_layers,
        "position": 9,
        "top": top,
        "entropy_bits": bits,
        "kl_to_final_bits": 0.0 if k == n_layers else 5.0,
        "kl_from_final_bits": 0.0,
        "answer_prob": math.nan,
        "answer_rank": math.nan,
    }


def published_run(name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A run that has exactly what was published about a model."""
    n = pub.published_models()[name]
    main = question(name, pub.SEED_PROMPT, tokens(pub.rows(pub.SEED_OUTPUT, name)), n)
    main["temperatures"] = [
        {
            "temperature": t,
            "top": tokens([r for r in pub.rows(pub.SEED_TEMPERATURE, name) if r["temperature"] == t]),
        }
        for t in (0.1, 2.0)
    ]
    later = question(name, pub.LATER_PROMPT, [], n)
    summary = pub.rows(pub.LATEST_SUMMARY, name)[0]
    later["output"] = [token(" Berlin", summary["p_answer_final"])]
    questions = [main, later]
    for file in (pub.LATER_PROBES, pub.SEED_PROBES):  # later ones first: they list five tokens, not three
        for prompt in dict.fromkeys(row["prompt"] for row in pub.rows(file, name)):
            if prompt not in {each["prompt"] for each in questions}:
                found = [row for row in pub.rows(file, name) if row["prompt"] == prompt]
                questions.append(question(name, prompt, tokens(found), n))
    return pd.DataFrame(questions), pd.DataFrame(_seed_layers(name, n) + _later_layers(name, n))


def _seed_layers(name: str, n: int) -> list[dict[str, Any]]:
    sampled: dict[int, list[pub.Row]] = {}
    for row in pub.rows(pub.SEED, name):
        sampled.setdefault(pub.blocks_done(int(row["layer"])), []).append(row)
    made = []
    for row in pub.rows(pub.DENSE, name):
        k = int(row["blocks_done"])
        top = tokens(sampled[k]) if k in sampled else [token(row["top1_token"], row["top1_prob"])]
        at = layer(name, pub.SEED_PROMPT, k, n, top, row["entropy_bits"])
        at["answer_prob"], at["answer_rank"] = row["p_answer_top20"], row["answer_rank_top20"]
        made.append(at)
    return made


def _later_layers(name: str, n: int) -> list[dict[str, Any]]:
    return [
        layer(
            name,
            pub.LATER_PROMPT,
            int(row["layer"]),
            n,
            [token(row["top1_token"], row["top1_prob"])],
            row["entropy_bits_asreported"],
        )
        for row in pub.rows(pub.CANONICAL, name)
    ]


def only(comparisons: list[ModelComparison]) -> ModelComparison:
    assert len(comparisons) == 1
    return comparisons[0]


def finding(comparison: ModelComparison, figure: str, source: str) -> Finding:
    found = [each for each in comparison.findings if (each.figure, each.source) == (figure, source)]
    assert len(found) == 1, [each.figure for each in comparison.findings if each.source == source]
    return found[0]


def verdicts(comparison: ModelComparison, *sources: str) -> set[str]:
    claims = {insight.claim for insight in reference.published_insights()}
    return {each.verdict for each in comparison.findings if each.source in sources and each.figure not in claims}


def with_top(layers: pd.DataFrame, k: int, top: list[dict[str, Any]]) -> pd.DataFrame:
    """The same lens, but for what one layer after the seed prompt says."""
    rows = zip(layers["question"], layers["layer"], layers["top"], strict=True)
    here = (f"q-{pub.SEED_PROMPT}", k)
    return layers.assign(top=[top if (question, layer) == here else old for question, layer, old in rows])


@pytest.mark.parametrize("name", FOUR[:3])
def test_a_run_of_the_published_figures_reproduces_them(name: str):
    comparison = only(compare(*published_run(name)))
    assert comparison.published_as == name
    assert comparison.count("differs") == 0
    sources = {
        pub.DENSE,
        pub.CANONICAL,
        pub.SEED_OUTPUT,
        pub.SEED_PROBES,
        pub.SEED_TEMPERATURE,
        pub.LATER_PROBES,
    }
    for source in sources:
        assert "reproduces" in verdicts(comparison, source), source
    # A list of one token can't show the answer below the top; all that it has must agree as float32 does.
    agreeing = [each for each in comparison.findings if each.verdict == "reproduces"]
    assert all(each.tolerance.startswith("float32") for each in agreeing)
    assert len(agreeing) > 250


def test_mistral_reproduces_though_its_published_tokens_lost_their_leading_space():
    questions, layers = published_run("Mistral-7B-v0.1")

    def spaced(top: list[dict[str, Any]]) -> list[dict[str, Any]]:
        other = [token("Berlin", top[-1]["prob"] / 2)] if top[0]["text"] == "Berlin" else []
        return [{**each, "text": " " + each["text"]} for each in top] + other

    comparison = only(compare(questions, layers.assign(top=[spaced(top) for top in layers["top"]])))
    assert comparison.count("differs") == 0
    found = finding(comparison, "top-1 at layer 32", pub.DENSE)
    assert (found.verdict, found.published, found.ours) == ("reproduces", "Berlin", " Berlin")
    assert "white space" in found.note


def test_another_probability_differs_and_names_the_layer():
    questions, layers = published_run(QWEN)
    layers = with_top(layers, 28, [token(" Berlin", 0.6)])
    comparison = only(compare(questions, layers))
    differing = [each for each in comparison.findings if each.verdict == "differs"]
    assert [each.figure for each in differing] == ["p(␣Berlin) at layer 28"]
    assert differing[0].published == 0.926707
    assert differing[0].ours == 0.6


def test_another_top_token_differs_and_shows_both():
    questions, layers = published_run(QWEN)
    layers = with_top(layers, 33, [token(" Bonn", 0.9), token(" Berlin", 0.05)])
    found = finding(only(compare(questions, layers)), "top-1 at layer 33", pub.DENSE)
    assert (found.verdict, found.published, found.ours) == ("differs", " Berlin", " Bonn")
    assert "␣Berlin has .05" in found.note


def test_the_first_layer_at_rank_1_is_found_in_the_run_itself():
    questions, layers = published_run(QWEN)
    layers = with_top(layers, 20, [token(" Berlin", 0.9)])
    found = finding(only(compare(questions, layers)), "first layer with Berlin at rank 1", pub.DENSE)
    assert (found.verdict, found.published, found.ours) == ("differs", 28, 20)


def test_a_threshold_crossed_one_layer_later_by_a_hair_reproduces_as_half_precision():
    questions, layers = published_run("Meta-Llama-3-8B")
    layers = with_top(layers, 23, [token(" Berlin", 0.497)])  # published .513955
    found = finding(only(compare(questions, layers)), "first layer with p(Berlin) > .5", pub.DENSE)
    assert (found.verdict, found.published, found.ours) == ("reproduces", 23, 24)
    assert "close call" in found.note
    assert not found.tolerance.startswith("float32")


def test_a_float32_run_is_not_excused_by_half_precision():
    questions, layers = published_run(QWEN)
    layers = with_top(layers, 28, [token(" Berlin", 0.91)])  # published .926707
    figure = "p(␣Berlin) at layer 28"
    unknown = finding(only(compare(questions, layers)), figure, pub.DENSE)
    assert unknown.verdict == "reproduces"
    assert unknown.tolerance.startswith("bfloat16")
    float32 = finding(only(compare(questions.assign(dtype="float32"), layers)), figure, pub.DENSE)
    assert float32.verdict == "differs"


def test_gemma_lens_probabilities_are_known_wrong_and_its_top_tokens_still_compared():
    comparison = only(compare(*published_run(GEMMA)))
    last = finding(comparison, "p(␣Berlin) at layer 42", pub.DENSE)
    assert last.verdict == "known wrong"
    assert "tanh" in last.note
    assert ".790732" in last.note
    for each in comparison.findings:
        if each.source in LENS_FILES and each.figure.startswith(("p(", "entropy", "first layer with p(")):
            assert each.verdict == "known wrong", each
    assert finding(comparison, "top-1 at layer 42", pub.DENSE).verdict == "reproduces"
    assert finding(comparison, "first layer with Berlin at rank 1", pub.DENSE).verdict == "reproduces"


def test_gemma_outputs_are_compared_because_they_are_right():
    comparison = only(compare(*published_run(GEMMA)))
    assert verdicts(comparison, pub.SEED_OUTPUT, pub.SEED_TEMPERATURE, pub.SEED_PROBES) == {"reproduces"}


def test_the_wrongly_scaled_lens_is_known_wrong_but_its_output_is_not():
    comparison = only(compare(*published_run(QWEN)))
    assert finding(comparison, "output p(␣Berlin)", pub.LATEST_SUMMARY).verdict == "reproduces"
    assert finding(comparison, "entropy of the output", pub.LATEST_SUMMARY).verdict == "reproduces"
    first = finding(comparison, "first layer with Berlin at rank 1 or better", pub.LATEST_SUMMARY)
    assert (first.verdict, first.published) == ("known wrong", 31)
    assert verdicts(comparison, pub.LATEST) == {"known wrong"}


def test_seed_claims_are_known_wrong_and_shown_beside_the_run():
    comparison = only(compare(*published_run(QWEN)))
    depth, direction = (
        finding(comparison, insight.claim, insight.source) for insight in reference.published_insights()
    )
    assert (depth.verdict, direction.verdict) == ("known wrong", "known wrong")
    assert depth.ours == "rank 1 first at layer 28 of 36 (78%), p > .95 first at layer 29 of 36 (81%)"
    assert "Berlin .73226 after “Germany has its capital at”" in str(direction.ours)


def test_layers_are_counted_in_blocks_done():
    assert [pub.blocks_done(label) for label in (0, 1, 6, 35)] == [0, 2, 7, 36]
    dense = {(r["model"], int(r["seed_layer_label"])): int(r["blocks_done"]) for r in pub.table(pub.DENSE)}
    for row in pub.table(pub.SEED):
        label = int(row["layer"])
        assert pub.blocks_done(label) == dense[row["model"], label]


def test_only_the_last_position_and_the_logit_lens_count():
    questions, layers = published_run(QWEN)
    elsewhere = layers.assign(position=3, top=[[token("x", 1.0)]] * len(layers))
    raw = layers.assign(lens="raw", top=[[token("x", 1.0)]] * len(layers))
    raw_questions = questions.assign(lens="raw", question="other")
    both = only(compare(pd.concat([raw_questions, questions]), pd.concat([elsewhere, raw, layers])))
    assert both.findings == only(compare(questions, layers)).findings
    raw_alone = only(compare(questions.assign(lens="raw"), raw))
    assert verdicts(raw_alone, *LENS_FILES) == {"not in this run"}
    assert verdicts(raw_alone, pub.SEED_OUTPUT) == {"reproduces"}


def test_the_same_name_with_other_layers_is_another_model():
    questions, layers = published_run(QWEN)
    comparison = only(compare(questions.assign(n_layers=12), layers))
    assert (comparison.published_as, comparison.findings) == (None, ())
    assert "12 layers where that has 36" in comparison.note


def test_an_unpublished_model_says_which_models_have_figures():
    questions, layers = published_run(QWEN)
    renamed = {"model": "gemma-3-270m", "location": "gemma-3-270m"}
    comparison = only(compare(questions.assign(**renamed), layers.assign(model="gemma-3-270m")))
    assert (comparison.published_as, comparison.findings) == (None, ())
    assert "Nothing was published" in comparison.note
    assert "Mistral-7B-v0.1" in comparison.note


def test_prompts_that_the_run_did_not_ask_are_one_finding_per_file():
    questions, layers = published_run(QWEN)
    comparison = only(compare(questions.head(1), layers))
    absent = [each for each in comparison.findings if each.verdict == "not in this run"]
    for source in (pub.SEED_PROBES, pub.LATER_PROBES, pub.CANONICAL, pub.LATEST, pub.LATEST_SUMMARY):
        assert [each.source for each in absent].count(source) == 1
    probes = next(each for each in absent if each.source == pub.LATER_PROBES)
    assert probes.figure == "outputs after 14 other prompts"
    assert probes.published == "70 rows"


def test_a_prompt_must_match_to_the_letter():
    questions, layers = published_run(QWEN)
    bent = questions.assign(prompt=questions["prompt"].str.replace("Answer:", "Answer: "))
    assert verdicts(only(compare(bent, layers)), pub.DENSE, pub.SEED_OUTPUT) == {"not in this run"}


def test_several_models_keep_the_order_of_the_run():
    runs = [published_run(name) for name in (GEMMA, QWEN)]
    comparisons = compare(pd.concat([q for q, _ in runs]), pd.concat([lay for _, lay in runs]))
    assert [each.published_as for each in comparisons] == [GEMMA, QWEN]
    frame = reference.to_frame(comparisons)
    assert len(frame) == sum(len(each.findings) for each in comparisons)
    assert list(frame.columns[:4]) == ["model", "published_as", "figure", "source"]
    assert list(reference.to_frame([]).columns) == list(frame.columns)


def test_tables_read_back_from_parquet_compare_alike(tmp_path):
    questions, layers = published_run(QWEN)
    for name, frame in (("questions", questions), ("layers", layers)):
        frame.to_parquet(tmp_path / name)
    back = [pd.read_parquet(tmp_path / name) for name in ("questions", "layers")]
    assert compare(*back) == compare(questions, layers)


def test_an_answer_below_our_list_is_compared_through_the_runs_own_answer():
    questions, layers = published_run("Meta-Llama-3-8B")
    figure = "p(␣Berlin) at layer 21"  # rank 12 there
    assert finding(only(compare(questions, layers)), figure, pub.DENSE).verdict == "reproduces"
    without = layers.assign(answer_prob=math.nan, answer_rank=math.nan)
    assert finding(only(compare(questions, without)), figure, pub.DENSE).verdict == "not in this run"
