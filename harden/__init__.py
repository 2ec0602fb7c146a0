"""harden: a model hardening workbench.

The map of the house. Doors (`python -m harden.<verb>`) read the configuration and write results; rooms do
the work and know neither configuration files nor the ledger.

    train, evaluate           doors: harden a classifier; measure a weights file, verify what was measured
    watermark                 door: mark weights as somebody's, find the mark, trace leaks
    round, review             doors: a quarterly round and its record; an after-action review of rounds
    keygen, seal, unseal, verify    doors: keys; encrypt and sign; open; check where a sealed file comes from
    door, schema              what doors share; which dataclass stands behind which option
    session, examination      a training and an evaluation, as the doors run them
    marking, owners, weighing    what watermark is asked for; owners' keys and claims; weights and their accuracy
    branding, inquiry, testimony, keeping    embed; look for marks; tell and record; marks in training
    rounding, planning, chronicle     a round, as the door runs it; its plan; rounds in MLflow, written and read
    asking, unlocking         passphrases; from what a request names to what opens a file
    vouching, crossing        the manifest beside a sealed file; to age files and back
    threat                    norm, eps and pixel box as one value
    attacks                   ways to look for adversarial examples (they propose)
    evaluation                the judge who decides, suites, evidence, sanity checks, curves, comparisons
    certification             lower bounds: intervals, CROWN-IBP, randomised smoothing
    reporting                 an evaluation as one HTML file
    rounds                    plan, stages, replay bank, gates, signed and chained records
    reviewing                 what a round planned, what happened, why, what follows, as one page
    training                  recipe, loop, objectives, watchdogs, exact resume
    sealing                   sealed files: hybrid post-quantum encryption, signatures, trust
    watermarking              marks in weights: claims, keys, the closed form, the bound
    models, data              networks from pixels to logits; data sets kept as uint8
    kernels                   the hot loops of perturbation, several engines behind one interface
    ledger, pictures          MLflow; curves and example grids
    seeds, files, errors      named randomness; whole files or none; what a user can be told
"""

__version__ = "0.1.0"
