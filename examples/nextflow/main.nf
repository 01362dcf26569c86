#!/usr/bin/env nextflow
// Plates of images to tables and reports, by napari-tam. How to use it: README.md beside this file.

include { NAPARITAM_BATCH } from './modules/local/naparitam/batch/main'

workflow {
    if (!params.input) {
        error "Which plates? Give a table of them: nextflow run main.nf --input plates.csv"
    }
    // paths in the table are taken from where Nextflow is started
    plates = channel.fromPath(params.input, checkIfExists: true)
        .splitCsv(header: true)
        .map { row ->
            def layout = row.layout ? file(row.layout, checkIfExists: true) : []
            [[id: row.plate], file(row.images, checkIfExists: true), layout]
        }
    settings = params.settings ? file(params.settings, checkIfExists: true) : []
    NAPARITAM_BATCH(plates, settings)
}
