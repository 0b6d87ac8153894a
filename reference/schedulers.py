"""
Writes scheduler-walks.json: walks of diffusers' schedulers over a small model that depends on the timestep,

    output = sin(input / 2 + t / 400) / 2 + 0.1

from the noise that a CPU generator of seed 1234 draws, which also gives every step its noise. Each case keeps the
configuration, the timesteps, the sigmas and the sample after every step.
"""

import json
import warnings

import diffusers
import torch

from common import GOLDEN, generator

warnings.filterwarnings("ignore")
diffusers.logging.set_verbosity_error()

SHAPE = (2, 1, 3, 3)
SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
KOLORS = {**SD, "beta_end": 0.014, "num_train_timesteps": 1100}
COSINE = {"beta_schedule": "squaredcos_cap_v2"}
ZERO_SNR = {**SD, "rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing"}
SHORT_BETAS = [0.001 + 0.0009 * i for i in range(20)]
SPACINGS = ("linspace", "leading", "trailing")
SIGMAS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")


def model(sample, timestep):
    return torch.sin(sample / 2 + float(timestep) / 400) / 2 + 0.1


def digits(tensor):
    """Eight digits, a hundred times finer than the tests' tolerance; whole numbers without a point."""
    values = (float(f"{value:.8g}") for value in tensor.flatten().tolist())
    return [int(value) if value.is_integer() else value for value in values]


def walk(name, config, steps, begin=None, **options):
    """One case. `begin` starts in the middle, as image-to-image does, from a clean sample with noise added."""
    scheduler = getattr(diffusers, name)(**config)
    scheduler.set_timesteps(steps)
    g = generator(1234)
    noise = torch.randn(SHAPE, generator=g)
    timesteps = scheduler.timesteps
    if begin is None:
        sample = noise * scheduler.init_noise_sigma
        if len(timesteps) > 1 and timesteps[0] == timesteps[1]:
            # Left to itself diffusers starts at the second of the two, and runs off the end.
            scheduler.set_begin_index(0)
    else:
        timesteps = timesteps[begin:]
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(begin)
        clean = torch.linspace(-1, 1, noise.numel()).reshape(SHAPE)
        sample = scheduler.add_noise(clean, noise, timesteps[:1].repeat(SHAPE[0]))
    case = {
        "scheduler": name,
        "config": config,
        "steps": steps,
        **({"begin": begin} if begin is not None else {}),
        **({"options": dict(options)} if options else {}),
        "initNoiseSigma": float(scheduler.init_noise_sigma),
        "timesteps": digits(scheduler.timesteps),
    }
    if hasattr(scheduler, "sigmas"):
        case["sigmas"] = digits(scheduler.sigmas)
    case["start"] = digits(sample)
    if "DPMSolver" not in name and name != "PNDMScheduler" or "sde" in config.get("algorithm_type", ""):
        options["generator"] = g
    samples = []
    for t in timesteps:
        output = model(scheduler.scale_model_input(sample, t), t)
        sample = scheduler.step(output, t, sample, **options).prev_sample
        samples.append(sample)
    # The first numbers of each row after every step, and all of the last sample.
    case["samples"] = [digits(s[:, 0, 0, 0]) for s in samples]
    case["final"] = digits(samples[-1])
    if not all(torch.isfinite(s).all() for s in samples):
        raise ValueError(f"{name} {config} {steps} is not finite")
    return case


def cases():
    ddim = {**SD, "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}
    for n, base in ((15, KOLORS), (30, SD), (48, SD), (61, SD)):
        for spacing in SPACINGS:
            yield walk("DDIMScheduler", {**ddim, **base, "timestep_spacing": spacing}, n)
    for prediction in ("sample", "v_prediction"):
        yield walk("DDIMScheduler", {**ddim, "prediction_type": prediction}, 7)
    yield walk("DDIMScheduler", {}, 9)
    yield walk("DDIMScheduler", {**ddim, "thresholding": True, "sample_max_value": 1.5}, 9)
    yield walk("DDIMScheduler", {**ddim, "thresholding": True, "dynamic_thresholding_ratio": 0.8}, 9)
    yield walk("DDIMScheduler", {**ddim, "clip_sample": True, "clip_sample_range": 0.7}, 9, eta=0.5)
    yield walk("DDIMScheduler", ddim, 9, eta=1.0)
    yield walk("DDIMScheduler", ddim, 10, begin=4)
    yield walk("DDIMScheduler", {**ZERO_SNR, "clip_sample": False}, 12)
    yield walk("DDIMScheduler", {**ZERO_SNR, "clip_sample": False, "prediction_type": "sample"}, 12, eta=0.3)
    yield walk("DDIMScheduler", {**COSINE, "clip_sample": False}, 12)
    yield walk("DDIMScheduler", {"num_train_timesteps": 20, "trained_betas": SHORT_BETAS}, 6)

    pndm = {**SD, "skip_prk_steps": True, "set_alpha_to_one": False, "steps_offset": 1}
    for n, base in ((1, SD), (2, SD), (15, KOLORS), (30, SD), (61, SD)):
        for spacing in SPACINGS:
            yield walk("PNDMScheduler", {**pndm, **base, "timestep_spacing": spacing}, n)
    for n, base in ((4, SD), (7, KOLORS), (20, SD)):
        for spacing in SPACINGS:
            yield walk("PNDMScheduler", {**base, "timestep_spacing": spacing}, n)
    yield walk("PNDMScheduler", {**pndm, "prediction_type": "v_prediction", "set_alpha_to_one": True}, 9)
    yield walk("PNDMScheduler", {"prediction_type": "v_prediction"}, 9)
    yield walk("PNDMScheduler", pndm, 12, begin=5)

    for name in ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"):
        for n, base in ((1, SD), (15, KOLORS), (30, KOLORS), (48, SD), (61, SD)):
            for spacing in SPACINGS:
                yield walk(name, {**base, "timestep_spacing": spacing, "steps_offset": 1}, n)
        yield walk(name, {**SD, "prediction_type": "v_prediction"}, 9)
        yield walk(name, ZERO_SNR, 9)
        yield walk(name, COSINE, 9)
        yield walk(name, {**SD, "timestep_spacing": "leading"}, 12, begin=5)
    for sigmas in SIGMAS:
        for n, base in ((1, SD), (2, SD), (15, KOLORS), (30, SD)):
            yield walk("EulerDiscreteScheduler", {**base, sigmas: True}, n)
        yield walk("EulerDiscreteScheduler", {**KOLORS, sigmas: True, "timestep_spacing": "trailing"}, 15)
        yield walk("EulerDiscreteScheduler", {**SD, sigmas: True, "timestep_spacing": "leading"}, 15, begin=3)
        yield walk("EulerDiscreteScheduler", {**SD, sigmas: True, "sigma_min": 0.1, "sigma_max": 9.0}, 11)
    yield walk("EulerDiscreteScheduler", {**SD, "final_sigmas_type": "sigma_min"}, 11)
    yield walk("EulerDiscreteScheduler", {**SD, "interpolation_type": "log_linear"}, 11)
    yield walk("EulerDiscreteScheduler", {**SD, "interpolation_type": "log_linear", "use_karras_sigmas": True}, 11)
    yield walk("EulerDiscreteScheduler", {**SD, "prediction_type": "sample"}, 11)
    continuous = {"timestep_type": "continuous", "prediction_type": "v_prediction"}
    yield walk("EulerDiscreteScheduler", {**SD, **continuous, "use_karras_sigmas": True}, 11)
    yield walk("EulerDiscreteScheduler", SD, 11, s_churn=3.0, s_tmin=0.1, s_tmax=9.0, s_noise=1.01)
    yield walk("EulerDiscreteScheduler", {**SD, "prediction_type": "v_prediction"}, 11, s_churn=9.0)

    dpm = "DPMSolverMultistepScheduler"
    for n, base in ((1, SD), (2, SD), (15, KOLORS), (30, KOLORS), (48, SD), (61, SD)):
        for spacing in SPACINGS:
            yield walk(dpm, {**base, "timestep_spacing": spacing, "steps_offset": 1}, n)
    for algorithm in ("dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++"):
        for order in (1, 2, 3):
            for solver in ("midpoint", "heun"):
                if algorithm == "sde-dpmsolver" and order == 3:
                    continue
                config = {**SD, "algorithm_type": algorithm, "solver_order": order, "solver_type": solver}
                if "++" not in algorithm:
                    config["final_sigmas_type"] = "sigma_min"
                yield walk(dpm, config, 9)
                yield walk(dpm, config, 16)
    for sigmas in (*SIGMAS, "use_lu_lambdas"):
        # Not Kolors: its timesteps are cut, not rounded, here, and its first is 1098 or 1099 as PyTorch's square root,
        # inexact in the last place and different between processors, will have it.
        for n, base in ((1, SD), (2, SD), (15, {**SD, "num_train_timesteps": 1100}), (30, SD), (30, COSINE)):
            yield walk(dpm, {**base, sigmas: True}, n)
        yield walk(dpm, {**SD, sigmas: True, "algorithm_type": "sde-dpmsolver++"}, 15)
    yield walk(dpm, {**KOLORS, "use_karras_sigmas": True}, 25)
    for prediction in ("sample", "v_prediction"):
        yield walk(dpm, {**SD, "prediction_type": prediction}, 11)
        noise_form = {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}
        yield walk(dpm, {**SD, **noise_form, "prediction_type": prediction}, 11)
        yield walk(dpm, {**SD, **noise_form, "prediction_type": prediction, "thresholding": True}, 11)
    yield walk(dpm, {**SD, "thresholding": True, "sample_max_value": 2.0}, 11)
    yield walk(dpm, {**SD, "use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 3.0}, 11)
    yield walk(dpm, {**COSINE, "lambda_min_clipped": -5.1}, 11)
    yield walk(dpm, {**COSINE, "lambda_min_clipped": -5.1, "timestep_spacing": "leading"}, 11)
    yield walk(dpm, {**COSINE, "lambda_min_clipped": -5.1, "timestep_spacing": "trailing"}, 11)
    yield walk(dpm, {**SD, "euler_at_final": True, "final_sigmas_type": "sigma_min"}, 17)
    yield walk(dpm, {**SD, "lower_order_final": False, "final_sigmas_type": "sigma_min", "solver_order": 3}, 9)
    yield walk(dpm, {**SD, "solver_order": 3, "use_karras_sigmas": True}, 14, begin=6)
    yield walk(dpm, ZERO_SNR, 9)
    yield walk(dpm, {**ZERO_SNR, "algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True}, 9)


golden = {"diffusers": diffusers.__version__, "shape": SHAPE, "walks": list(cases())}
(GOLDEN / "scheduler-walks.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
print(len(golden["walks"]), "walks")
