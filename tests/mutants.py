"""Would the tests notice? Puts one mistake at a time into a copy of the project and tests that.

Each mutant is a short piece of text that occurs once in its file, what stands there instead, why
that is wrong, and the tests that must then fail. Survivors are named; the exit code is 1 when there
is one, when a text no longer occurs once, and when a test fails without any mistake.

    make mutants
    .venv/bin/python tests/mutants.py evaluate.py    # those of the files whose names hold this
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Loaded once, before processes are forked for the mutants; never a module of this project.
HEAVY = (
    "hypothesis",
    "networkx",
    "scipy.stats",
    "torch",
    "transformers.models.gpt2.modeling_gpt2",
)
FAILED = 1  # pytest's exit code when a test failed; others say that tests could not be run


class Mutant(NamedTuple):
    """A mistake: its file, what stands there, what instead, why it is wrong, who sees it."""

    file: str
    old: str
    new: str
    why: str
    tests: str  # of the folder tests, with blanks between


PROPERTIES = "test_properties.py::test_"
MUTANTS = (
    Mutant(
        "eap/graph.py",
        "counts.append(heads.start if self.parallel else heads.stop)",
        "counts.append(heads.start)",
        "an MLP would not hear the heads of its layer",
        PROPERTIES + "an_edge_is_there_exactly_where_its_source_writes_before_its_reader_reads",
    ),
    Mutant(
        "eap/selection.py",
        "fed[0] = heard[logits] = True",
        "heard[logits] = True",
        "`input` would need an edge into it",
        PROPERTIES + "pruning_keeps_exactly_what_is_on_a_path_from_input_to_logits",
    ),
    Mutant(
        "eap/selection.py",
        "stays = fed[sources] & heard[readers]",
        "stays = fed[sources]",
        "edges that nothing hears would stay",
        PROPERTIES + "pruning_keeps_exactly_what_is_on_a_path_from_input_to_logits",
    ),
    Mutant(
        "eap/selection.py",
        "level.cumsum(-1) <= room",
        "level.cumsum(-1) < room",
        "of equal scores one too few would be taken",
        PROPERTIES + "the_strongest_edges_are_the_first_of_a_sorted_list",
    ),
    Mutant(
        "eap/selection.py",
        "iter(edges_into[node].tolist())",
        "iter(edges_into[node].tolist()[::2])",
        "greedy would pass over every second edge of a node",
        PROPERTIES + "greedy_is_the_naive_loop_and_each_size_holds_the_one_before",
    ),
    Mutant(
        "eap/selection.py",
        "torch.argsort(strength(scores, absolute=absolute),",
        "torch.argsort(scores,",
        "negative scores would come last when |score| counts",
        PROPERTIES + "greedy_is_the_naive_loop_and_each_size_holds_the_one_before",
    ),
    Mutant(
        "eap/selection.py",
        "> n_edges:",
        ">= n_edges:",
        "nodes that just fit would be left out",
        "test_graph.py::test_top_nodes_takes_whole_nodes_within_the_budget",
    ),
    Mutant(
        "eap/selection.py",
        ">= 0.95",
        ">= 0.05",
        "edges that keep their sign in a twentieth of resamples would pass for consistent",
        "test_graph.py::test_sign_consistent_drops_an_edge_that_flips",
    ),
    Mutant(
        "eap/random_circuits.py",
        "drawn[edges[:n]] = True",
        "drawn[edges[: n + 1]] = True",
        "the null would have one edge too many for every pair of layers",
        PROPERTIES + "matched_random_circuits_have_as_many_edges_for_every_pair_of_layers",
    ),
    Mutant(
        "eap/random_circuits.py",
        "sources[src] * (graph.n_layers + 2)",
        "sources[src] * graph.n_layers",
        "different pairs of layers would count as one",
        PROPERTIES + "matched_random_circuits_have_as_many_edges_for_every_pair_of_layers",
    ),
    Mutant(
        "eap/scores.py",
        "graph.edge_index[0] == 0]",
        "graph.edge_index[1] == 0]",
        "completeness would be asked of the edges into the first slot",
        "test_attribute.py::test_completeness_improves_with_points_and_with_the_rule",
    ),
    Mutant(
        "eap/contraction.py",
        "slots] += written[:parents] @ torch.cat(read).T",
        "slots] = written[:parents] @ torch.cat(read).T",
        "only the last chunk of positions would count for heads",
        "test_secant.py::test_chunks_of_positions_do_not_matter",
    ),
    Mutant(
        "eap/contraction.py",
        "-1] += written",
        "-1] = written",
        "only the last chunk of positions would count for MLPs and logits",
        "test_secant.py::test_chunks_of_positions_do_not_matter",
    ),
    Mutant(
        "eap/contraction.py",
        "direction[example, part], value=-1)",
        "direction[example, part], value=1)",
        "the norm's own part of the gradient would be added",
        "test_attribute.py::test_every_edge_of_every_example_equals_the_definition",
    ),
    Mutant(
        "eap/contraction.py",
        "summed.mul_(adapter.blocks[layer].attn_norm.weight)",
        "summed.mul_(1.0)",
        "the norm's weight would be left out of the gradient",
        "test_attribute.py::test_every_edge_of_every_example_equals_the_definition",
    ),
    Mutant(
        "eap/methods.py",
        "return (nodes + 1) / 2, weights / 2",
        "return (nodes + 1) / 2, weights",
        "the rule's weights would sum to 2",
        "test_attribute.py::test_rules_integrate_polynomials",
    ),
    Mutant(
        "eap/methods.py",
        "return (np.arange(n) + 0.5) / n",
        "return np.arange(n) / n",
        "midpoints would be left ends",
        "test_attribute.py::test_rules_integrate_polynomials",
    ),
    Mutant(
        "eap/attribute.py",
        "embeddings + (1 - point.share) * between.differences.input",
        "embeddings + point.share * between.differences.input",
        "the path would run the other way",
        "test_golden.py::test_scores_float32",
    ),
    Mutant(
        "eap/attribute.py",
        "for row in part.rows]).argsort()",
        "for row in part.rows])",
        "scores would stand at other examples than their own",
        "test_attribute.py::test_scores_stand_at_their_own_pairs_whatever_the_order_of_batches",
    ),
    Mutant(
        "eap/metrics.py",
        "(clean.exp() * (clean - log_probs)).sum(-1)",
        "(clean.exp() * (clean - log_probs)).mean(-1)",
        "KL would be a mean over the vocabulary",
        "test_guards.py::test_guard_1_kl_is_summed_over_the_vocabulary",
    ),
    Mutant(
        "eap/metrics.py",
        "return target - favourite",
        "return favourite - target",
        "the difference of logits would have the other sign",
        "test_secant.py::test_a_metrics_multiplier_times_the_logits_change_is_its_change",
    ),
    Mutant(
        "eap/metrics.py",
        "return totals / torch.bincount(target_rows, minlength=n_examples)",
        "return totals",
        "long summaries would count more than short ones",
        "test_golden.py::test_baselines",
    ),
    Mutant(
        "eap/rules.py",
        "(log_p - log_q).mul_(0.5).abs_()",
        "(log_p - log_q).abs_()",
        "the logarithmic mean would be another mean",
        "test_secant.py::test_the_logarithmic_mean",
    ),
    Mutant(
        "eap/rules.py",
        "difference / 12**0.5",
        "difference / 3**0.5",
        "the quadrature between near values would take points outside of them",
        "test_secant.py::test_an_activations_slope_times_its_change_is_its_outputs_change "
        "test_secant.py::test_an_activations_slope_in_float32",
    ),
    Mutant(
        "eap/rules.py",
        "along = 2 / (",
        "along = 1 / (",
        "the norm's secant would miss half of what its scale does",
        "test_secant.py::test_a_norms_multiplier_times_its_change_is_its_outputs_change",
    ),
    Mutant(
        "eap/rules.py",
        "keepdim=True) / rule.sum(-1, keepdim=True))",
        "keepdim=True))",
        "logarithmic means of weights do not sum to 1",
        "test_secant.py::test_attentions_multipliers_times_their_changes_are_its_outputs_change",
    ),
    Mutant(
        "eap/rules.py",
        "return share - reference.clean_log_probs.exp()",
        "return mean - reference.clean_log_probs.exp()",
        "the softmax's sum would be taken for constant",
        "test_secant.py::test_a_metrics_multiplier_times_the_logits_change_is_its_change",
    ),
    Mutant(
        "eap/evaluate.py",
        "-missing.float()",
        "missing.float()",
        "missing edges would be added instead of taken out",
        "test_evaluate.py::test_fast_run_equals_the_naive_one",
    ),
    Mutant(
        "eap/evaluate.py",
        "self.total += delta",
        "self.total.copy_(delta)",
        "the sum of all changes would hold the last one alone",
        "test_evaluate.py::test_fast_run_equals_the_naive_one",
    ),
    Mutant(
        "eap/evaluate.py",
        "results - ablated",
        "results",
        "heads would write their results on top of the ablated ones",
        "test_evaluate.py::test_fast_run_equals_the_naive_one",
    ),
    Mutant(
        "eap/passes.py",
        "corrupted.map(torch.zeros_like)",
        "corrupted.map(torch.ones_like)",
        "zero ablation would write ones",
        "test_evaluate.py::test_zero_ablating_everything_leaves_the_biases",
    ),
    Mutant(
        "eap/passes.py",
        "mask = batch.mask.to(device)",
        "mask = torch.ones_like(batch.mask).to(device)",
        "padding would enter the mean activations",
        "test_evaluate.py::test_mean_activations_are_means_over_tokens_that_are_not_padding",
    ),
    Mutant(
        "eap/exact.py",
        "kept[edge] = True",
        "kept[edge] = False",
        "edges patched before would stay patched",
        "test_golden.py::test_exact_patching",
    ),
    Mutant(
        "eap/dataset.py",
        "(i, position - 1, pair.clean_ids[position])",
        "(i, position, pair.clean_ids[position])",
        "logits would be judged on the token that they have seen",
        PROPERTIES + "batches_hold_every_pair_once_and_every_target_one_place_after_its_logits",
    ),
    Mutant(
        "eap/dataset.py",
        "min(begin + most, end)",
        "begin + most",
        "positions of the next stretch would count twice",
        PROPERTIES + "stretches_cover_every_position_once_with_its_label",
    ),
    Mutant(
        "eap/circuit.py",
        '_number(value["score"], name, path=path) / len(numbers)',
        '_number(value["score"], name, path=path)',
        "a collapsed edge would count three times",
        PROPERTIES + "a_collapsed_edge_puts_all_slots_into_the_circuit_and_shares_its_score_out",
    ),
    Mutant(
        "eap/resampling.py",
        "TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)",
        "TAILS = (1 - LEVEL, LEVEL)",
        "95 % intervals would be 90 % intervals",
        "test_resampling.py::test_ends_are_the_central_share_of_what_was_drawn",
    ),
    Mutant(
        "eap/resampling.py",
        "yield counts @ per_example.float() / n",
        "yield counts @ per_example.float() / len(rows)",
        "means would be divided by the number of resamples",
        "test_resampling.py::test_bootstrap_means_are_means_of_resamples",
    ),
    Mutant(
        "study/overlap.py",
        "a * b / (a + b - a * b)",
        "a * b / (a + b)",
        "the chance level would count shared edges twice",
        "test_overlap.py::test_chance_is_the_mean_and_the_quantiles_of_random_choices",
    ),
    Mutant(
        "study/overlap.py",
        "union = (kept | others)",
        "union = (kept ^ others)",
        "overlap would be divided by what is not shared",
        "test_overlap.py::test_overlaps_counted_by_hand",
    ),
    Mutant(
        "study/bakeoff/comparison.py",
        "np.arange(len(p_values), 0, -1)",
        "len(p_values)",
        "Holm's correction would be Bonferroni's",
        "test_bakeoff.py::test_holm_by_hand",
    ),
    Mutant(
        "eap/resampling.py",
        "(np.abs(signs @ differences) >= threshold)",
        "(signs @ differences >= threshold)",
        "the two-sided test would look at one side",
        "test_resampling.py::test_sign_flips_of_few_examples_give_the_exact_probability",
    ),
    Mutant(
        "study/bakeoff/comparison.py",
        "if low <= 0 <= high or entry",
        "if entry",
        "a word would need no interval",
        "test_bakeoff.py::test_guard_26_no_word_without_an_interval_holm_and_agreeing_seeds",
    ),
    Mutant(
        "study/faithfulness/numbers.py",
        "(circuit.mean(-1) - empty.mean(-1)) / (full.mean(-1) - empty.mean(-1))",
        "((circuit - empty) / (full - empty)).mean(-1)",
        "f would be a mean of ratios, which single examples decide",
        "test_evaluate.py::test_faithfulness_is_a_ratio_of_means",
    ),
    Mutant(
        "study/faithfulness/numbers.py",
        "np.asarray(f, dtype=float), np.log(fractions)",
        "np.asarray(f, dtype=float), np.asarray(fractions)",
        "crossings would be read off in k, and then exponentiated",
        "test_faithfulness.py::test_crossings_are_read_off_in_log_k",
    ),
    Mutant(
        "study/faithfulness/numbers.py",
        'return difference["n"] >= MIN_EXAMPLES and excludes_zero(difference)',
        "return excludes_zero(difference)",
        "two examples would carry a claim",
        "test_guards.py::test_guard_26_few_examples_support_no_claim_about_faithfulness",
    ),
    Mutant(
        "study/evolution/numbers.py",
        "((1 - half) * signed)",
        "(half * signed)",
        "the sign would come from the examples that it judges, and noise would pass for size",
        "test_evolution.py::test_the_norm_is_the_plain_sum_without_noise_and_near_zero_with_nothing_else",
    ),
    Mutant(
        "study/evolution/numbers.py",
        "q > FALSE_DISCOVERY",
        "q > 10 * FALSE_DISCOVERY",
        "half of the edges said to have moved would be noise",
        "test_evolution.py::test_noise_alone_seldom_moves_any_edge",
    ),
    Mutant(
        "study/evolution/numbers.py",
        "weights.double() / 2",
        "weights.double()",
        "every edge would count fully in both of its layers",
        "test_evolution.py::test_layer_mass_halves_every_edge_and_leaves_out_input_and_logits",
    ),
    Mutant(
        "study/differential/measures.py",
        "gram = gram.masked_fill(eye, 0.0)",
        "pass",
        "positions would be compared with themselves",
        "test_differential.py::test_cka_equals_the_textbook_estimator",
    ),
    Mutant(
        "study/differential/measures.py",
        "return cosine(centred(x), centred(y))",
        "return cosine(x, y)",
        "a shared offset would hide every change",
        "test_differential.py::test_centred_cosine_sees_what_a_shared_offset_hides",
    ),
    Mutant(
        "runs/records.py",
        'before.get("times_resumed", 0) + 1',
        "1",
        "interruptions would not be counted",
        "test_runs.py::test_an_interrupted_run_goes_on_and_counts_it",
    ),
    Mutant(
        "eap/selection.py",
        "heard[n_nodes:] = heard[group_heads].any(1)",
        "heard[n_nodes:] = heard[group_heads].all(1)",
        "a group would need all of its heads to be heard",
        "test_families.py::test_pruning_goes_through_groups",
    ),
    Mutant(
        "eap/selection.py",
        "meet(group_of[node])",
        "pass",
        "greedy would never take a key or value that heads share",
        "test_families.py::test_greedy_choice_and_the_best_nodes_go_through_groups",
    ),
    Mutant(
        "eap/random_circuits.py",
        "generator=generator)[:n]] = True",
        "generator=generator)[: n + 1]] = True",
        "the plain null would have one edge too many",
        PROPERTIES + "matched_random_circuits_have_as_many_edges_for_every_pair_of_layers",
    ),
    Mutant(
        "eap/graph.py",
        "slots.index_add_(0, places, per_head)",
        "slots.index_copy_(0, places, per_head)",
        "a shared slot would get one of its heads' gradients alone",
        "test_families.py::test_scores_of_shared_slots_equal_autograd_of_a_copy_for_each_group",
    ),
    Mutant(
        "eap/evaluate.py",
        "norm.scale(self._total(layer, heads.tolist(), results=results))",
        "norm.scale(self.runner.given(layer)[1])",
        "the norm after the heads would have the ablated run's scale",
        "test_families.py::test_circuits_equal_their_definition",
    ),
    Mutant(
        "eap/models/decoder.py",
        "return weight if norm is None else weight * norm.weight",
        "return weight",
        "the weight of a norm after the heads would be left out of what they write",
        "test_families.py::test_what_nodes_write_and_the_streams_they_add_up_to",
    ),
    Mutant(
        "eap/backward.py",
        "(block.attn_post, corrupted.attn_posts)",
        "(block.attn_post, corrupted.mlp_posts)",
        "the secant of the norm after the heads would be between two other things",
        "test_families.py::test_every_cut_of_secants_scores_sums_to_the_metrics_change",
    ),
    Mutant(
        "eap/backward.py",
        "rules.factor(function(values[0]), other_opened)",
        "rules.factor(values[0], other_values[0])",
        "a gate's factor would get the multiplier of what was not opened",
        "test_families.py::test_every_cut_of_secants_scores_sums_to_the_metrics_change",
    ),
    Mutant(
        "eap/attribute.py",
        "        self.lower = upper",
        "        pass",
        "every segment would begin at the corrupted run",
        "test_secant.py::test_the_scores_of_every_cut_sum_to_the_metrics_change",
    ),
    Mutant(
        "eap/gradients.py",
        "direct.add_(grad, alpha=weight)",
        "direct.add_(grad)",
        "points would have no weights at MLPs and logits",
        "test_golden.py::test_scores_float32",
    ),
    Mutant(
        "eap/rules.py",
        "torch.arange(rows.stop, device=scores.device) <= queries - self.window",
        "torch.arange(rows.stop, device=scores.device) < queries - self.window",
        "a window would be one key wider than the model's",
        "test_secant.py::test_attention_and_its_derivative_are_those_written_out",
    ),
    Mutant(
        "eap/memory.py",
        "int(SHARE * budget / needed)",
        "int(budget / needed)",
        "a plan would leave no memory for anything else",
        "test_memory.py::test_the_plan_follows_the_budget",
    ),
    Mutant(
        "eap/resampling.py",
        "stdtrit(n - 1, TAILS[0]) * (n / (n - 1)) ** 0.5",
        "stdtrit(n - 1, TAILS[0])",
        "intervals over few examples would be too narrow",
        "test_resampling.py::test_of_few_examples_resamples_are_cut_further_out",
    ),
    Mutant(
        "study/stability/curves.py",
        "return (1 - jaccard) / (1 + jaccard)",
        "return 1 - jaccard",
        "the share of edges that are replaced would be another quantity",
        "test_stability.py::test_the_model_is_recovered_from_points_that_follow_it",
    ),
    Mutant(
        "study/extraction/until_stable.py",
        "enough = len(per_example) >= MIN_EXAMPLES",
        "enough = len(per_example) > 0",
        "two pairs could be called stable",
        "test_stability.py::test_nothing_is_called_stable_that_fewer_than_eight_pairs_say",
    ),
    Mutant(
        "study/extraction/until_stable.py",
        "if overlap < settings.until_stable - QUICK_MARGIN:",
        "if True:",
        "a quick look would decide, and no circuit ever be stable",
        "test_stability.py::test_pairs_are_taken_until_the_overlap_of_resamples_is_over_the_goal",
    ),
)


def problems(root: Path = ROOT) -> list[str]:
    """What is wrong with the list: a text that does not occur exactly once, a change of nothing."""
    wrong = []
    for mutant in MUTANTS:
        times = (root / mutant.file).read_text(encoding="utf-8").count(mutant.old)
        if times != 1:
            wrong.append(f"{mutant.file}: expected {mutant.old!r} once, found it {times} times")
        if mutant.new == mutant.old:
            wrong.append(f"{mutant.file}: {mutant.old!r} is left as it is")
    return wrong


def copy_project(folder: Path) -> None:
    """Copy the tracked files, and those that git does not ignore."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)


def exit_code(folder: Path, tests: str) -> int:
    """pytest's, of these tests in the copy, in a process forked from this one."""
    child = os.fork()
    if child == 0:
        code = 3
        try:
            os.chdir(folder)
            sys.path.insert(0, str(folder))
            with open(folder / "output.txt", "w") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            names = [f"tests/{name}" for name in tests.split()]
            code = int(pytest.main(["-x", "-p", "no:cacheprovider", *names]))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def survives(folder: Path, mutant: Mutant) -> bool:
    """Whether the tests pass with the mistake in the copy; the copy is as it was afterwards."""
    path = folder / mutant.file
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        return exit_code(folder, mutant.tests) != FAILED
    finally:
        path.write_text(text, encoding="utf-8")


def main() -> int:
    """Run all mutants, or those of some files; 1 where one survives or the list is not in step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", help="parts of file names (default: all files)")
    parts = parser.parse_args().files
    chosen = [m for m in MUTANTS if not parts or any(part in m.file for part in parts)]
    wrong = problems()
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
        return 1
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # they are imported already
    os.environ["HF_HUB_OFFLINE"] = "1"  # as in the tests' conftest, which comes too late for it
    for name in HEAVY:
        __import__(name)
    sys.dont_write_bytecode = True  # a mutant of the same size and second would not be read
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_project(folder)
        every_test = " ".join(dict.fromkeys(test for m in chosen for test in m.tests.split()))
        if exit_code(folder, every_test) != 0:
            print((folder / "output.txt").read_text()[-3000:], file=sys.stderr)
            print("expected the tests to pass without a mistake", file=sys.stderr)
            return 1
        survivors = []
        for mutant in chosen:
            started = time.time()
            if survives(folder, mutant):
                survivors.append(mutant)
            word = "SURVIVES" if mutant in survivors[-1:] else "killed"
            seconds = time.time() - started
            print(f"{word:<9}{seconds:5.1f} s  {mutant.file}: {mutant.why}", flush=True)
    print(f"{len(chosen)} mutants, {len(survivors)} survivors")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
