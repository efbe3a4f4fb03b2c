"""What one key says must fit what the others say: the mistakes that no type shows."""

from omegaconf import DictConfig, OmegaConf

from ppo.config.options import ConfigError

_NEED_TARGET_KL = (
    *(("stop", "minibatch"), ("stop", "epoch"), ("stop", "rollback")),
    *(("lr", "adaptive_kl"), ("clip", "adaptive"), ("penalty", "adaptive"), ("objective", "trpo")),
)


def check(cfg: DictConfig) -> None:
    """Raise ConfigError on the first mistake."""

    def require(holds: bool, key: str, wrong: str) -> None:
        if not holds:
            raise ConfigError(f"{key}={OmegaConf.select(cfg, key)}: {wrong}")

    def named(group: str, name: str) -> bool:
        return bool(cfg[group]) and str(cfg[group]._target_).endswith(f".{name}")

    for key in ("total_steps", "num_envs", "num_steps", "epochs", "minibatch_size", "micro_batches"):
        require(cfg[key] >= 1, key, "must be at least 1")
    for key, least in (("workers", 0), ("threads", 1)):
        number = cfg[key]
        require(number == "auto" or isinstance(number, int), key, "must be a number or auto")
        require(number == "auto" or number >= least, key, f"must be at least {least}")
    for key in (
        "seed",
        "eval.every",
        "eval.episodes",
        "eval.seed",
        "checkpoint.every",
        "coef.value",
        "rpo",
        "coef.entropy",
        "penalty.beta",
    ):
        value = OmegaConf.select(cfg, key)
        require(not isinstance(value, int | float) or value >= 0, key, "must not be negative")
    for key in ("gamma", "gae_lambda", "norm.decay", "norm.low", "norm.high"):
        value = OmegaConf.select(cfg, key)
        require(not isinstance(value, int | float) or 0 <= value <= 1, key, "must lie in [0, 1]")
    for key in ("adam.beta1", "adam.beta2"):
        require(0 <= OmegaConf.select(cfg, key) < 1, key, "must lie in [0, 1)")
    for key in (
        *("rank_timeout", "target_kl", "max_grad_norm", "adam.eps", "normalise.clip_obs", "normalise.clip_reward"),
        *("guard.clamp", "guard.warn", "guard.extreme_high", "guard.extreme_low", "guard.first_log_ratio"),
        *("lr.value", "lr.min", "lr.max", "stop.factor", "penalty.min", "penalty.max"),
        *(
            "clip.eps",
            "clip.below",
            "clip.above",
            "clip.min",
            "clip.max",
            "clip.fraction",
            "value.eps",
            "value.delta",
            "value.kappa",
        ),
        *("stop.limit", "norm.floor", "objective.alpha", "objective.damping", "objective.shrink"),
    ):
        value = OmegaConf.select(cfg, key)
        require(not isinstance(value, int | float) or 0 < value < float("inf"), key, "must be a positive number")
    require(cfg.compile.lower() in ("auto", "true", "false"), "compile", "must be auto, true or false")
    policies = ("stop", "skip", "rollback")
    require(cfg.on_nonfinite in policies, "on_nonfinite", f"must be one of {', '.join(policies)}")
    require(cfg.guard.clamp <= 80, "guard.clamp", "exp of more than 80 overflows float32")
    batch = cfg.num_envs * cfg.num_steps
    require(
        batch % cfg.minibatch_size == 0,
        "minibatch_size",
        f"must divide num_envs * num_steps = {cfg.num_envs} * {cfg.num_steps} = {batch}",
    )
    require(
        cfg.minibatch_size % cfg.micro_batches == 0, "micro_batches", f"must divide minibatch_size={cfg.minibatch_size}"
    )
    require(
        cfg.workers in ("auto", 0) or cfg.workers < cfg.num_envs,
        "workers",
        f"must be below num_envs={cfg.num_envs}, as this process steps a share too",
    )
    require(not cfg.value or cfg.value.get("quantiles", 1) >= 1, "value.quantiles", "must be at least 1")
    dual = cfg.objective.get("dual") if cfg.objective else None
    require(not isinstance(dual, int | float) or dual > 1, "objective.dual", "must be above 1, usually 3")
    if named("objective", "trpo"):
        for key in ("cg_steps", "backtracks"):
            require(cfg.objective[key] >= 1, f"objective.{key}", "must be at least 1")
        require(cfg.objective.shrink < 1, "objective.shrink", "must be below 1")
        require(named("demo", "none"), "demo", "objective=trpo takes no demonstrations")
    if named("objective", "spo"):
        require(not named("clip", "none"), "clip", "objective=spo takes its eps from the clip range; choose one")
    require(cfg.rpo == 0 or not named("network", "categorical"), "rpo", "discrete actions have no mean to move")
    if cfg.network and cfg.network.get("squash"):
        require(named("action", "tanh"), "network.squash", "the entropy is that of tanh, so it needs action=tanh")
    for group, name in _NEED_TARGET_KL:
        if named(group, name) and cfg[group].get("fraction") is None:
            require(cfg.target_kl is not None, "target_kl", f"{group}={name} needs one, for example target_kl=0.01")
    for group, start in (("lr", "value"), ("clip", "eps"), ("penalty", "beta")):
        if cfg[group] and str(cfg[group]._target_).rpartition(".")[2].startswith("adaptive"):
            low, high = cfg[group].min, cfg[group].max
            require(low <= high, f"{group}.min", f"must not exceed {group}.max={high}")
            require(low <= cfg[group][start] <= high, f"{group}.{start}", f"must lie in [{group}.min, {group}.max]")
            for key in ("factor", "tolerance"):
                require(cfg[group][key] >= 1, f"{group}.{key}", "must be at least 1")
