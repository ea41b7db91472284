"""The presets of the pipeline: model, articles, sizes and flags of a whole study, a record each."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Preset:
    """What differs between presets. Sizes are numbers of examples; `model` and `dataset` as in
    every script.
    """

    model: str
    dataset: str
    pairs: int  # half for extraction, half for evaluation
    training: str  # flags of run_finetuning_with_checkpoints.py
    trajectory: int  # pairs per checkpoint at most, and of the robustness
    judged: int  # unseen pairs on which circuits are run
    texts: int  # of the differential analysis
    test: int  # articles of the ROUGE table
    random_circuits: int
    levels: str  # of the perturbation curve
    arms: str  # flags of run_peft_bakeoff.py
    extract: str = ""  # further flags of the extraction
    beside: str = ""  # and of EAP-IG's circuit of the fine-tuned model, which stands beside
    faithful: str = ""  # and of the faithfulness
    robust: str = ""  # and of the robustness
    articles: str = ""  # and of every script that reads articles
    estimated: bool = False  # whether its hours are estimated before it starts


TENTHS = ".1,.2,.3,.4,.5,.6,.7,.8,.9"
# Sizes of circuits: real models have no small faithful ones (docs/real_model.md).
LARGE = ".01,.02,.05,.1,.2,.4,.6,.8,1"

DEMO = Preset(
    model="demo",
    dataset="demo",
    pairs=640,
    # the rest of the training by its script's own settings for the demo
    training="--checkpoint_steps 0,10,30,70,150 --validation_size 64",
    trajectory=160,
    judged=32,
    texts=48,
    test=100,
    random_circuits=10,
    levels=".1,.5,.9",
    arms="--arms all late paper observed circuit random --seeds 1 --max_steps 120 "
    "--max_examples 64",
    extract="--method secant --until_stable --fraction .02",
    beside="--fraction .02 --max_examples 160",
    faithful="--cross_fractions .05,.2 --random_fractions .01,.05,.1",
    robust="--variants mask,swap:1,control,nll,EAP-IG-inputs,EAP --max_examples 64",
)
DEMO_FULL = replace(
    DEMO,
    pairs=960,
    trajectory=320,
    judged=48,
    beside="--fraction .02 --max_examples 320",
    texts=200,
    test=200,
    levels=TENTHS,
    faithful="",
    robust="--max_examples 96",
    arms="--arms none full all random late paper hybrid observed circuit circuit-change rslora "
    "dora adalora --seeds 3 --max_steps 100 --subset_train_size 400 --lr_sweep 0.3,1,3 "
    "--sweep_share 0.2",
)
SMOKE = replace(
    DEMO,
    pairs=8,
    training="--subset_train_size 32 --max_steps 4 --per_device_train_batch_size 8 "
    "--checkpoint_steps 0,2,4 --validation_size 8 --probe_examples 4",
    trajectory=4,
    judged=4,
    texts=4,
    test=4,
    random_circuits=1,
    levels=".5",
    extract="--method secant",
    beside="--ig_steps 2",
    robust="--variants mask,swap:1,control,nll,EAP-IG-inputs,EAP --max_examples 4",
    arms="--arms all paper random --seeds 1 --max_steps 2 --subset_train_size 32 "
    "--per_device_train_batch_size 8 --max_examples 4",
)
GPT2_CNN = Preset(
    model="gpt2",
    dataset="abisee/cnn_dailymail",
    pairs=400,
    training="--subset_train_size 20000 --num_train_epochs 3 --per_device_train_batch_size 8 "
    "--learning_rate 5e-5",
    trajectory=200,
    judged=100,
    extract="--method secant --until_stable",
    robust="--max_examples 100",
    texts=200,
    test=500,
    random_circuits=10,
    levels=TENTHS,
    arms="--arms none full all random late paper hybrid observed circuit circuit-change --seeds 3 "
    "--num_train_epochs 1 --subset_train_size 20000 --max_examples 500 --max_new_tokens 100 "
    "--lr_sweep 0.3,1,3 --sweep_share 0.25",
    estimated=True,
)
PYTHIA_CNN = replace(GPT2_CNN, model="EleutherAI/pythia-160m", articles="--max_length 1024")
SMOLLM2_CNN = replace(
    GPT2_CNN,
    model="HuggingFaceTB/SmolLM2-135M-Instruct",
    articles="--max_length 1024",
    faithful=f"--fractions {LARGE} --random_fractions .05,.2,.4,.6",
    arms="--arms none full all random observed circuit circuit-change --seeds 3 --top_k 8 "
    "--num_train_epochs 1 --subset_train_size 20000 --max_examples 500 --max_new_tokens 100 "
    "--lr_sweep 0.3,1,3 --sweep_share 0.25",
)
SMOLLM2_LOCAL = Preset(
    model="smollm2",
    dataset="demo",  # until --dataset names your articles
    pairs=96,
    training="--subset_train_size 64 --max_steps 16 --per_device_train_batch_size 4 "
    "--learning_rate 3e-5 --checkpoint_steps 0,4,16 --validation_size 16 --probe_examples 8 "
    "--train_sampling_strategy random",
    trajectory=12,
    judged=10,
    extract="--method secant --fraction .05",
    beside="--fraction .05 --max_examples 16",
    faithful="--fractions .05,.1,.2,.4,.6 --random_fractions .05 --cross_fractions .05 "
    "--metrics kl",
    robust="--variants mask,control,EAP-IG-inputs --max_examples 8",
    texts=16,
    test=16,
    random_circuits=2,
    levels=".5",
    arms="--arms none all circuit random --seeds 1 --max_steps 12 --subset_train_size 48 "
    "--per_device_train_batch_size 4 --learning_rate 5e-4 --lr_sweep none --top_k 8 "
    "--max_examples 12 --max_new_tokens 80",
    articles="--max_length 288",
)
PRESETS = {
    "demo": DEMO,
    "demo-full": DEMO_FULL,
    "gpt2-cnn": GPT2_CNN,
    "pythia-cnn": PYTHIA_CNN,
    "smollm2-cnn": SMOLLM2_CNN,
    "smollm2-local": SMOLLM2_LOCAL,
    "smoke": SMOKE,
}

# What each command of a preset took on two cores, in seconds: for the list of stages.
SECONDS = {"demo": (7, 169, 64, 30, 67, 125, 33, 16, 5, 118, 117, 19, 180, 13)}
