// AssemblyScript has no names with a hyphen, and the contract has some: renames these exports.
import { Transform } from 'assemblyscript/transform';

const names = { relabelPacked: 'relabel-packed', admissionInputs: 'admission-inputs' };

export default class extends Transform {
  afterCompile(module) {
    for (const [ours, contracts] of Object.entries(names)) {
      for (const prefix of ['', 'cabi_post_']) {
        const ref = module.getExport(prefix + ours);
        if (!ref) continue;
        module.addFunctionExport(this.binaryen.getExportInfo(ref).value, prefix + contracts);
        module.removeExport(prefix + ours);
      }
    }
  }
}
