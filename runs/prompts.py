"""With which prompts pairs were made and models were trained, as files record it, held together."""

from typing import TYPE_CHECKING

from eap import InputError

if TYPE_CHECKING:  # it imports torch, and scripts parse their flags first
    from eap.examples import Examples

# Where a tokenizer says with which prompts its model was trained.
PROMPT_KEY = "summary_prompt"


def check_prompt(pairs: list, tokenizer, *, path) -> None:
    """Raise InputError for pairs of several prompts, or of another than the model was trained on.

    Files and models that do not say how their prompts were made are not judged.
    """
    recorded = [pair.prompt for pair in pairs if pair.prompt is not None]
    trained = getattr(tokenizer, "init_kwargs", {}).get(PROMPT_KEY)
    expected = trained or (recorded[0] if recorded else None)
    other = next((prompt for prompt in recorded if prompt != expected), None)
    if other is not None and expected is not None:
        whose = "the model was fine-tuned on" if trained else "the first pair has"
        raise InputError(
            f"{path}: expected pairs with the prompt that {whose} ({prompt_in_words(expected)}), "
            f"got {prompt_in_words(other)}; build them again with --prompt and --instruction"
        )


def other_prompt(pairs: list, found_on: "list[Examples]", *, path) -> str | None:
    """A note where circuits were found on examples of other prompts than the pairs have."""
    of_pairs = next((pair.prompt for pair in pairs if pair.prompt is not None), None)
    of_circuits = [examples.prompt for examples in found_on if examples.prompt]
    other = next((prompt for prompt in of_circuits if prompt != of_pairs), None)
    if of_pairs is None or other is None:
        return None
    return (
        f"note: {path} has other prompts ({prompt_in_words(of_pairs)}) than a circuit was found on "
        f"({prompt_in_words(other)}): its f says how far it carries over"
    )


def prompt_in_words(prompt: dict) -> str:
    """A recorded prompt as the flags would ask for it."""
    instruction = prompt.get("instruction")
    return f"{prompt.get('kind')}" + (f", instruction {instruction!r}" if instruction else "")
