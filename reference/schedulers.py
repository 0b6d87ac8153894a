"""
Writes scheduler-walks.json: walks of diffusers' schedulers over a small model that depends on the timestep,

    output = sin(input / 2 + t / 400) / 2 + 0.1

from the noise that a CPU generator of seed 1234 draws, which also gives every step its noise. Each case keeps the
configuration, the timesteps, the sigmas and the sample after every step.
"""

import inspect
import json
import warnings

import diffusers
import numpy as np
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
    """Seven digits, a hundred times finer than the tests' tolerance; whole numbers without a point."""
    values = (float(f"{value:.7g}") for value in tensor.flatten().tolist())
    return [int(value) if value.is_integer() else value for value in values]


def walk(name, config, steps, begin=None, custom=None, **options):
    """
    One case. `begin` starts in the middle, as image-to-image does, from a clean sample with noise added; `custom` is
    what set_timesteps is given besides, or in place of, a number of steps.
    """
    scheduler = getattr(diffusers, name)(**config)
    # UniPC takes its sigmas as an array only.
    given = {key: np.array(value) if key == "sigmas" else value for key, value in (custom or {}).items()}
    scheduler.set_timesteps(**({"num_inference_steps": steps} if steps else {}), **given)
    g = generator(1234)
    noise = torch.randn(SHAPE, generator=g)
    timesteps = scheduler.timesteps
    if begin is None:
        sample = noise * scheduler.init_noise_sigma if hasattr(scheduler, "init_noise_sigma") else noise
        if len(timesteps) > 1 and timesteps[0] == timesteps[1]:
            # Left to itself diffusers starts at the second of the two, and runs off the end.
            scheduler.set_begin_index(0)
    else:
        timesteps = timesteps[begin:]
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(begin)
        clean = torch.linspace(-1, 1, noise.numel()).reshape(SHAPE)
        at = timesteps[:1].repeat(SHAPE[0])
        if hasattr(scheduler, "scale_noise"):
            sample = scheduler.scale_noise(clean, at, noise)
        else:
            sample = scheduler.add_noise(clean, noise, at)
    case = {
        "scheduler": name,
        "config": config,
        **({"steps": steps} if steps else {}),
        **({"begin": begin} if begin is not None else {}),
        **({"custom": custom} if custom else {}),
        **({"options": dict(options)} if options else {}),
        "initNoiseSigma": float(getattr(scheduler, "init_noise_sigma", 1)),
        "timesteps": digits(scheduler.timesteps),
    }
    if hasattr(scheduler, "sigmas"):
        case["sigmas"] = digits(scheduler.sigmas)
    if begin is not None:
        case["start"] = digits(sample)
    if "generator" in inspect.signature(scheduler.step).parameters:
        options["generator"] = g
    scale = getattr(scheduler, "scale_model_input", lambda sample, _: sample)
    samples = []
    for t in timesteps:
        output = model(scale(sample, t), t)
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

    yield walk(dpm, SD, None, custom={"timesteps": [960, 700, 430, 200, 60, 5]})

    yield from ddpm()
    yield from lms_and_heun()
    yield from unipc()
    yield from distilled()
    yield from edm()
    yield from flow()
    yield walk("EulerDiscreteScheduler", SD, None, custom={"timesteps": [990, 801.5, 510, 244, 30]})
    yield walk("EulerDiscreteScheduler", SD, None, custom={"sigmas": [12.5, 4.2, 1.9, 0.8, 0.21, 0.05]})
    yield walk("EulerDiscreteScheduler", {**SD, **continuous}, None, custom={"sigmas": [12.5, 4.2, 1.9, 0.8, 0.0]})


def ddpm():
    name = "DDPMScheduler"
    latents = {**SD, "clip_sample": False}
    for n, base in ((1, SD), (15, KOLORS), (48, SD)):
        for spacing in SPACINGS:
            yield walk(name, {**base, "clip_sample": False, "timestep_spacing": spacing, "steps_offset": 1}, n)
    for prediction in ("sample", "v_prediction"):
        yield walk(name, {**latents, "prediction_type": prediction}, 7)
    for variance in ("fixed_small_log", "fixed_large"):
        yield walk(name, {**latents, "variance_type": variance}, 9)
    for schedule in ("squaredcos_cap_v2", "sigmoid", "laplace"):
        yield walk(name, {"beta_schedule": schedule}, 9)
    yield walk(name, {**latents, "thresholding": True, "sample_max_value": 1.5}, 9)
    yield walk(name, {**ZERO_SNR, "clip_sample": False}, 9)
    yield walk(name, latents, 10, begin=4)
    yield walk(name, latents, None, custom={"timesteps": [970, 640, 410, 120, 3]})
    yield walk(name, {"num_train_timesteps": 20, "trained_betas": SHORT_BETAS}, 20)


def lms_and_heun():
    for name in ("LMSDiscreteScheduler", "HeunDiscreteScheduler"):
        for n, base in ((1, SD), (2, SD), (15, KOLORS), (48, SD)):
            for spacing in SPACINGS:
                yield walk(name, {**base, "timestep_spacing": spacing, "steps_offset": 1}, n)
        for sigmas in SIGMAS:
            for n, base in ((2, SD), (11, SD), (12, KOLORS)):
                yield walk(name, {**base, sigmas: True}, n)
            yield walk(name, {**SD, sigmas: True, "timestep_spacing": "leading"}, 9, begin=4)
        for prediction in ("sample", "v_prediction"):
            yield walk(name, {**SD, "prediction_type": prediction}, 9)
        # From the cosine's last sigma, 20,000, float32 leaves Heun four digits: not "linspace".
        yield walk(name, {**COSINE, "timestep_spacing": "leading"}, 9)
        yield walk(name, {}, 9)
        yield walk(name, SD, 12, begin=6)
    yield walk("HeunDiscreteScheduler", {**SD, "clip_sample": True, "clip_sample_range": 0.7}, 9)
    yield walk("HeunDiscreteScheduler", {"beta_schedule": "exp", "timestep_spacing": "leading"}, 9)
    yield walk("HeunDiscreteScheduler", SD, None, custom={"timesteps": [950, 700, 400, 120, 10]})


def unipc():
    name = "UniPCMultistepScheduler"
    to_sigma_min = {"final_sigmas_type": "sigma_min"}
    for n, base in ((1, SD), (2, SD), (15, KOLORS), (48, SD)):
        for spacing in SPACINGS:
            yield walk(name, {**base, "timestep_spacing": spacing, "steps_offset": 1}, n)
    for order in (1, 2, 3, 4):
        for solver in ("bh1", "bh2"):
            for x0 in (True, False):
                config = {**SD, **to_sigma_min, "solver_order": order, "solver_type": solver, "predict_x0": x0}
                yield walk(name, config, 9)
        yield walk(name, {**SD, "solver_order": order}, 17)
    for sigmas in SIGMAS:
        for n, base in ((1, SD), (2, SD), (12, {**SD, "num_train_timesteps": 1100}), (16, COSINE)):
            yield walk(name, {**base, sigmas: True}, n)
        yield walk(name, {**SD, **to_sigma_min, sigmas: True}, 9)
        yield walk(name, {**SD, sigmas: True, "sigma_min": 0.1, "sigma_max": 9.0}, 9)
    for prediction in ("sample", "v_prediction"):
        yield walk(name, {**SD, "prediction_type": prediction}, 9)
        yield walk(name, {**SD, **to_sigma_min, "prediction_type": prediction, "predict_x0": False}, 9)
    yield walk(name, {**SD, "thresholding": True, "sample_max_value": 2.0}, 9)
    yield walk(name, {**SD, "disable_corrector": [0, 1, 4]}, 9)
    yield walk(name, {**SD, **to_sigma_min, "lower_order_final": False, "solver_order": 3}, 9)
    yield walk(name, ZERO_SNR, 9)
    yield walk(name, {**ZERO_SNR, "solver_order": 3, "use_karras_sigmas": True}, 9)
    yield walk(name, {**SD, "solver_order": 3}, 14, begin=6)
    flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
    yield walk(name, {**flow, "flow_shift": 3.0}, 9)
    yield walk(name, {**flow, **to_sigma_min, "shift_terminal": 0.1}, 9)
    yield walk(name, {**flow, "use_karras_sigmas": True}, 9)
    yield walk(name, flow, None, custom={"sigmas": [0.95, 0.7, 0.4, 0.2, 0.05]})


def distilled():
    for name in ("LCMScheduler", "TCDScheduler"):
        for n in (1, 2, 4, 7, 8, 50):
            yield walk(name, {}, n)
        for prediction in ("sample", "v_prediction"):
            yield walk(name, {"prediction_type": prediction}, 6)
        yield walk(name, {**KOLORS, "original_inference_steps": 30}, 7)
        yield walk(name, {**COSINE, "num_train_timesteps": 60}, 8)
        yield walk(name, {**ZERO_SNR, "timestep_spacing": "leading"}, 4)
        yield walk(name, {}, 8, begin=3)
        yield walk(name, {}, 7, custom={"original_inference_steps": 100})
        yield walk(name, {}, None, custom={"timesteps": [999, 750, 333, 20]})
    yield walk("LCMScheduler", {"clip_sample": True, "clip_sample_range": 0.5, "timestep_scaling": 3.0}, 6)
    yield walk("LCMScheduler", {"thresholding": True, "sample_max_value": 2.0}, 6)
    for eta in (0.0, 0.7, 1.0):
        yield walk("TCDScheduler", {}, 6, eta=eta)


def edm():
    euler, dpm = "EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"
    for name in (euler, dpm):
        for n in (1, 2, 9, 16):
            yield walk(name, {}, n)
        yield walk(name, {"sigma_schedule": "exponential"}, 9)
        yield walk(name, {"prediction_type": "v_prediction", "sigma_data": 1.0, "sigma_max": 30.0}, 9)
        yield walk(name, {"rho": 5.0, "sigma_min": 0.05}, 9)
        yield walk(name, {}, 12, begin=5)
    yield walk(euler, {"final_sigmas_type": "sigma_min"}, 9)
    yield walk(euler, {}, 9, s_churn=3.0, s_tmin=0.1, s_tmax=40.0, s_noise=1.01)
    for order in (1, 2, 3):
        for solver in ("midpoint", "heun"):
            for n in (9, 16):
                yield walk(dpm, {"solver_order": order, "solver_type": solver}, n)
                if order < 3:
                    sde = {"algorithm_type": "sde-dpmsolver++", "solver_order": order, "solver_type": solver}
                    yield walk(dpm, sde, n)
    yield walk(dpm, {"thresholding": True, "sample_max_value": 2.0}, 9)
    yield walk(dpm, {"solver_order": 3, "euler_at_final": True, "lower_order_final": False}, 9)


def flow():
    name = "FlowMatchEulerDiscreteScheduler"
    for n in (1, 4, 9):
        yield walk(name, {}, n)
        yield walk(name, {"shift": 3.0}, n)
    for sigmas in SIGMAS:
        yield walk(name, {"shift": 2.0, sigmas: True}, 9)
    yield walk(name, {"stochastic_sampling": True}, 9)
    yield walk(name, {"shift": 3.0, "shift_terminal": 0.1}, 9)
    yield walk(name, {"use_dynamic_shifting": True}, 9, custom={"mu": 0.8})
    yield walk(name, {"use_dynamic_shifting": True, "time_shift_type": "linear"}, 9, custom={"mu": 1.7})
    yield walk(name, {"shift": 3.0}, 9, begin=4)
    yield walk(name, {"shift": 3.0}, None, custom={"sigmas": [1.0, 0.8, 0.5, 0.2]})
    yield walk(name, {"num_train_timesteps": 400}, None, custom={"timesteps": [400.0, 250.0, 120.5, 33.0]})


golden = {"diffusers": diffusers.__version__, "shape": SHAPE, "walks": list(cases())}
(GOLDEN / "scheduler-walks.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
print(len(golden["walks"]), "walks")
