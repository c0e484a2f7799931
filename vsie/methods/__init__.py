"""Methods: a published method = encoder + split + predictor + terms, one file each, the paper in the docstring.

A file `name.py` here holds one class called by the file's name (case and underscores apart) that derives from
`vsie.methods.base.Method`; its keyword-only constructor and `configs/method/name.yaml` are its options. Nothing has to be
registered. What a method may say or do besides its `terms`:

* ``NEEDS_PREDICTOR``, ``PROJECTORS``: what it is built with. A YAML may choose another default predictor (`equimod.yaml`) or
  other windows (`trajectory.yaml`).
* ``needs_labels``: its `terms` are given labels. ``direct_supervision``: poses or labels are targets, and reports say so.
* ``weighs``: its `terms` are given trust in the motion between views, and all terms that are told of motion, or asked for it,
  are weighted by it. A method that has a predictor and does not weigh is not trained on estimated motion.
* ``check_data``: refuses data that it cannot be trained on. ``after_step``: moves what follows the weights (`ema.py`).
* ``summarise``: how several steps become one invariant representation, where that is not a mean; the protocol ``aggregate``.
* ``forward``: overridden where the terms need more than latents and poses.
* Steering (`vsie.evaluation.inputs.Steering`): by its predictor, or by a group action of its own (`action.py`); ``part``
  says of which part of the latent. A method that does not steer is judged with the identity, and not inverted.
"""
