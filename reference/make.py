"""Makes every golden again, or only those named: `python make.py unet vae`."""

import runpy
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPTS = ("unet", "clip_tokenizer", "clip_tokenizer_learned", "chatglm_tokenizer", "clip_text", "clip_vision", "chatglm", "vae", "tiled_vae", "taesd", "preview", "gradient", "adamw", "pipeline", "pipeline_xl", "pipeline_kolors", "safety_checker", "given_pictures", "kolors_inpaint", "variations", "prompts", "lora", "ip_adapter", "faces", "face_id", "kolors_controls", "kolors_lora", "parameters", "safetensors_files", "torch_files", "single_file_names", "generators", "schedulers", "resize", "canny", "depth", "pose", "controlnet", "hub_cache")

if __name__ == "__main__":
    for name in sys.argv[1:] or SCRIPTS:
        runpy.run_path(str(HERE / f"{name}.py"), run_name="__main__")
