process NAPARITAM_BATCH {
    tag "${meta.id}"
    label 'process_medium'

    input:
    tuple val(meta), path(images, stageAs: 'images/*'), path(layout)
    path settings

    output:
    tuple val(meta), path("${prefix}")            , emit: results
    tuple val(meta), path("${prefix}/cells.csv")  , emit: cells
    tuple val(meta), path("${prefix}/images.csv") , emit: images
    tuple val(meta), path("${prefix}/report.html"), emit: report, optional: true
    tuple val(meta), path("${prefix}.json")       , emit: answer
    path 'versions.yml'                           , emit: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    def layout_option = layout ? "--layout ${layout}" : ''
    def settings_option = settings ? "--settings ${settings}" : ''
    // what is left for images beside the program and its networks
    def memory_option = task.memory ? "--memory ${Math.max(0.2, task.memory.toMega() / 1000 - 1)}" : ''
    // Exit status 1 with an answer: some images failed, and images.csv says why; the others are done. Without an
    // answer it is a fault of the program. All else keeps its status: 2 is wrong use, 130 and above a signal.
    """
    export OMP_NUM_THREADS=${task.cpus}
    napari-tam batch images --out ${prefix} ${layout_option} ${settings_option} \\
        --jobs ${task.cpus} ${memory_option} ${args} \\
        --json > ${prefix}.json || { status=\$?; [ \$status -eq 1 ] && [ -s ${prefix}.json ] || exit \$status; }

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        napari-tam: \$(napari-tam --version | sed 's/napari-tam //')
    END_VERSIONS
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    mkdir ${prefix}
    touch ${prefix}/cells.csv ${prefix}/images.csv ${prefix}/report.html ${prefix}.json

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        napari-tam: \$(napari-tam --version | sed 's/napari-tam //')
    END_VERSIONS
    """
}
